from inout_generators.common.losses import LossLog, Step, plot_losses, read_losses


def steps(*numbers):
    return [Step(step=n, loss=1 / (n + 3), gradient=0.1 * n, learning_rate=1e-4) for n in numbers]


def test_numbers_come_back_exactly(tmp_path):
    log = LossLog(tmp_path / "a" / "losses.jsonl", 0)
    log.append(steps(0, 1))
    log.append(steps(2))
    assert read_losses(tmp_path / "a" / "losses.jsonl") == steps(0, 1, 2)


def test_what_lies_beyond_the_checkpoint_or_is_torn_is_cut_off(tmp_path):
    path = tmp_path / "losses.jsonl"
    LossLog(path, 0).append(steps(0, 1, 2, 3))
    path.write_text(path.read_text() + '{"step": 4, "lo')
    assert read_losses(path) == steps(0, 1, 2, 3)
    log = LossLog(path, 2)
    log.append(steps(2))
    assert read_losses(path) == steps(0, 1, 2)
    assert [file.name for file in tmp_path.iterdir()] == ["losses.jsonl"]


def test_infinite_losses_are_told_apart():
    assert Step(step=0, loss=1.0, gradient=2.0, learning_rate=1.0).finite
    assert not Step(step=0, loss=float("nan"), gradient=2.0, learning_rate=1.0).finite
    assert not Step(step=0, loss=1.0, gradient=float("inf"), learning_rate=1.0).finite


def test_the_curve_is_a_picture(tmp_path):
    LossLog(tmp_path / "losses.jsonl", 0).append(steps(*range(250)))
    assert plot_losses(tmp_path / "losses.jsonl", tmp_path / "losses.png")
    assert (tmp_path / "losses.png").read_bytes().startswith(b"\x89PNG")
