"""Saving to a folder or the Hugging Face hub, and opening from there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import ModelHubMixin

from clutch_llm.devices import choose_device, choose_dtype
from clutch_llm.files import ModelParts, load_model, save_model, write_parts
from clutch_llm.hub import find_folder
from clutch_llm.packaged import packaged_model


class Pretrained(ModelHubMixin):
    """What `Clutch` has of huggingface_hub's interface: these methods, and the mixin's ``push_to_hub``.

    A class of this kind is built from its `ModelParts` and gives them back.
    """

    def parts(self) -> ModelParts:
        """All that is saved."""
        raise NotImplementedError

    def save_pretrained(
        self,
        save_directory: Path | str,
        *,
        config: Any = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: Any = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write one folder that `from_pretrained` opens; it is written beside and renamed, never half there.

        Args:
            save_directory: the folder; one that is there is replaced.
            config: not used, a part of huggingface_hub's interface as are the following.
            repo_id: "owner/name" on the hub, for ``push_to_hub``; the folder's name by default.
            push_to_hub: upload it as well, see ``push_to_hub``.
            model_card_kwargs: not used: the model card tells what the model is.
            push_to_hub_kwargs: passed on to ``push_to_hub``.
        """
        folder = Path(save_directory)
        save_model(self.parts(), folder)
        return self.push_to_hub(repo_id or folder.name, **push_to_hub_kwargs) if push_to_hub else None

    def _save_pretrained(self, save_directory: Path) -> None:
        write_parts(self.parts(), save_directory)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # a device and a type of numbers in place of sizes
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None = None,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        revision: str | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
    ) -> Self:
        """Open a folder that `save_pretrained` wrote, or a model of the Hugging Face hub.

        The network is not needed for a folder, whatever the base model was.

        Args:
            pretrained_model_name_or_path: a folder, or where there is none of that name, "owner/name" on the hub. None
                for the trained model that comes with the package.
            device: where it runs: "cpu", "cuda", …, or "auto" for the accelerator that is there.
            dtype: numbers that the language model computes in, such as "bfloat16"; None is float32. The motion
                tokenizer keeps float32.
            revision: branch, tag or commit on the hub.
            cache_dir: where the hub's files are kept, instead of its usual place.
            token: for models of the hub that are not public.
            local_files_only: take what was downloaded before, without the network.

        Raises:
            CheckpointError: when there is no such folder or model, it is of a version to come, or a file is missing or
                broken.
            ConfigError: when there is no such device or type here.
        """
        chosen, numbers = choose_device(device), choose_dtype(dtype)
        name = pretrained_model_name_or_path
        folder = find_folder(
            packaged_model() if name is None else name,
            revision=revision,
            cache_dir=cache_dir,
            token=token,
            local_files_only=local_files_only,
        )
        parts = load_model(folder)
        parts["model"].to(chosen, numbers)
        parts["tokenizer"].to(chosen)
        return cls(**parts)
