import subprocess
import sys


def test_help_needs_no_diffusion_stack():
    code = (
        "import sys; from typer.testing import CliRunner; from inout_aug.cli import app; "
        "out = CliRunner().invoke(app, ['--help']).output; "
        "print('train' in out, sorted({'diffusers', 'accelerate'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().startswith("True []")


def test_the_module_may_be_imported_before_the_command_line():
    code = (
        "import inout_generators.cli.train, inout_aug.cli; from typer.testing import CliRunner; "
        "print('cannot be loaded' in CliRunner().invoke(inout_aug.cli.app, ['--help']).output)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
