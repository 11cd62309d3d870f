import subprocess
import sys

CODE = """
import sys, socket
def refuse(*args, **kwargs): raise OSError("network at import")
socket.socket.connect = refuse
import torch, torchvision
before = set(sys.modules)
import inout_aug
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded & {"matplotlib", "albumentations", "noise", "rich", "typer", "ray", "timm", "diffusers",
                       "transformers", "torchmetrics", "datasets", "scipy", "fsspec", "anomalib", "pickletools"}))
"""


def test_import_is_light_and_needs_no_network():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
