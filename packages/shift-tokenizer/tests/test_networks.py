import pytest
import torch
from shift_tokenizer.networks import Decoder, Encoder, TimeConv
from torch.nn import functional as F


@pytest.mark.parametrize("length", [2, 4, 8, 20])
@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 1, 1), (3, 1, 3), (3, 1, 9), (4, 2, 1), (1, 1, 1)])
def test_the_tap_product_is_a_convolution(length: int, kernel: int, stride: int, dilation: int) -> None:
    generator = torch.Generator().manual_seed(0)
    conv = TimeConv(5, 7, kernel, stride=stride, dilation=dilation).double()
    x = torch.randn(3, length, 5, dtype=torch.float64, generator=generator, requires_grad=True)
    y = conv(x)
    weight = conv.weight.permute(2, 1, 0)
    expected = F.conv1d(x.transpose(1, 2), weight, conv.bias, stride, conv.padding, dilation).transpose(1, 2)
    torch.testing.assert_close(y, expected)
    grad = torch.randn(y.shape, dtype=torch.float64, generator=generator)
    inputs = [x, conv.weight, conv.bias]
    made, wanted = (torch.autograd.grad(out, inputs, grad) for out in (y, expected))
    torch.testing.assert_close(made, wanted)


@pytest.mark.parametrize("frames", [1, 2, 4, 8])
def test_a_clip_in_a_padded_batch_gives_what_it_gives_alone(frames: int) -> None:
    torch.manual_seed(0)
    shape = (frames, max(2, frames.bit_length() - 1), (3, 1))
    encoder, decoder = Encoder(6, 16, 4, *shape).double(), Decoder(4, 16, 6, *shape).double()
    short, long = torch.randn(1, 16, 6, dtype=torch.float64), torch.randn(1, 32, 6, dtype=torch.float64)
    padded = torch.cat([F.pad(short, (0, 0, 0, 16), value=9.0), long])
    mask = torch.ones(2, 32, 1, dtype=torch.float64)
    mask[0, 16:] = 0
    z = encoder(padded, mask)
    assert z.shape == (2, 32 // frames, 4)
    torch.testing.assert_close(z[:1, : 16 // frames], encoder(short))
    torch.testing.assert_close(z[1:], encoder(long))
    codes = z.detach()
    decoded = decoder(codes, mask[:, ::frames])
    torch.testing.assert_close(decoded[:1, :16], decoder(codes[:1, : 16 // frames]))
    torch.testing.assert_close(decoded[1:], decoder(codes[1:]))
