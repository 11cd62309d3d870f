import subprocess
import sys

CODE = """
import sys, socket
def refuse(*args, **kwargs): raise OSError("network at import")
socket.socket.connect = refuse
import torch, torchvision
before = set(sys.modules)
import inout_aug
new = set(sys.modules) - before
# the compiler takes seconds to import
loaded = {name.split(".")[0] for name in new} | {name for name in new if name == "torch._dynamo"}
print(sorted(loaded & {"matplotlib", "albumentations", "noise", "rich", "typer", "ray", "timm", "diffusers",
                       "transformers", "torchmetrics", "datasets", "scipy", "fsspec", "anomalib", "pickletools",
                       "kornia", "torch._dynamo"}))
"""


def test_import_is_light_and_needs_no_network():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
