"""Run by an interpreter that has ``bpy``: loads motion files into Blender and saves them again, as its menus would.

Usage: python blender_session.py jobs.json, where jobs are [{"source", "target", "load": {}, "save": {}, "fps"}].
"""

import json
import sys

import bpy


def main(jobs):
    for job in jobs:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        if "fps" in job:
            bpy.context.scene.render.fps = job["fps"]
        load, save = job.get("load", {}), job.get("save", {})
        if job["source"].endswith(".glb"):
            bpy.ops.import_scene.gltf(filepath=job["source"], **load)
        else:
            bpy.ops.import_anim.bvh(filepath=job["source"], **load)
        armature = next(thing for thing in bpy.data.objects if thing.type == "ARMATURE")
        bpy.context.view_layer.objects.active = armature
        armature.select_set(True)
        if job["target"].endswith(".glb"):
            bpy.ops.export_scene.gltf(filepath=job["target"], **save)
        else:
            bpy.ops.export_anim.bvh(filepath=job["target"], **save)


if __name__ == "__main__":
    with open(sys.argv[1]) as stream:
        main(json.load(stream))
