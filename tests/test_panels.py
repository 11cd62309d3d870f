import numpy as np
import pytest

from inout_aug._panels import close_up, display_range, fit, to_rgb, wrap, write


def test_8_bit_is_shown_as_it_is_and_grey_in_three_channels():
    image = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)
    shown = to_rgb(image, display_range(image, None))
    np.testing.assert_array_equal(shown, np.repeat(image, 3, axis=2))


def test_16_bit_of_few_bits_uses_the_whole_range_and_a_host_shares_it():
    host = np.linspace(1000, 2000, 64 * 64).astype(np.uint16).reshape(64, 64, 1)
    image = host.copy()
    image[:20, :20] = 4095
    shown = display_range(image, host)
    assert shown[0] == pytest.approx(1000, abs=5)
    assert shown[1] == 4095
    assert np.ptp(to_rgb(image, shown)) >= 254
    np.testing.assert_array_equal(to_rgb(host, shown)[30:], to_rgb(image, shown)[30:])


def test_a_constant_16_bit_image_is_drawn_too():
    image = np.full((16, 16, 3), 7, np.uint16)
    assert to_rgb(image, display_range(image, None)).shape == (16, 16, 3)


@pytest.mark.parametrize(("size", "inner"), [((50, 100), (40, 80)), ((300, 100), (120, 40)), ((10, 10), (80, 80))])
def test_a_picture_keeps_its_proportions_in_the_box(size, inner):
    panel = fit(np.zeros((*size, 3), np.uint8), (120, 80))
    assert panel.shape == (120, 80, 3)
    rows, columns = np.nonzero((panel == 0).all(axis=2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == inner
    assert abs(rows.min() - (119 - rows.max())) <= 1
    assert abs(columns.min() - (79 - columns.max())) <= 1


def test_the_outline_surrounds_the_defect_without_touching_it():
    picture = np.full((60, 60, 3), 90, np.uint8)
    mask = np.zeros((60, 60), np.uint8)
    mask[20:30, 25:40] = 1
    panel = fit(picture, (60, 60), mask)
    drawn = (panel != picture).any(axis=2)
    assert not drawn[19:31, 24:41].any()
    expected = np.zeros_like(drawn)
    expected[18:32, 23:42] = True
    expected[19:31, 24:41] = False
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("row", [0, 1, 501, 999])
def test_a_defect_of_one_pixel_is_outlined_on_a_picture_reduced_tenfold(row):
    mask = np.zeros((1000, 1000), np.uint8)
    mask[row, row] = 1
    picture = np.full((1000, 1000, 3), 90, np.uint8)
    assert (fit(picture, (100, 100), mask) != 90).any()


def test_classes_have_colours_of_their_own():
    mask = np.zeros((60, 60), np.uint8)
    mask[10:20, 10:20], mask[40:50, 40:50] = 1, 2
    panel = fit(np.full((60, 60, 3), 90, np.uint8), (60, 60), mask)
    assert len(np.unique(panel.reshape(-1, 3), axis=0)) == 3


def test_a_close_up_is_around_the_largest_defect():
    picture = np.zeros((200, 300, 3), np.uint8)
    mask = np.zeros((200, 300), np.uint8)
    mask[5:8, 5:8] = mask[150:170, 280:298] = 1
    picture[150:170, 280:298] = 255
    part = close_up(picture, mask, (100, 80))
    assert part.shape == (50, 40, 3)
    assert (part == 255).all(axis=2).sum() == 20 * 18


def test_a_close_up_of_a_bent_defect_shows_some_of_it():
    y, x = np.mgrid[:200, :200]
    mask = (np.abs(np.hypot(y - 100, x - 100) - 80) < 3).astype(np.uint8)
    mask[:, 100:] = 0
    picture = np.repeat(mask[..., None] * 255, 3, axis=2)
    assert close_up(picture, mask, (60, 60)).any()


def test_a_close_up_of_a_small_image_is_the_image():
    picture = np.zeros((20, 30, 3), np.uint8)
    assert close_up(picture, np.ones((20, 30), np.uint8), (200, 200)).shape == picture.shape


def width_of(line, size):
    canvas = np.full((60, 2000, 3), 255, np.uint8)
    write(canvas, line, 0, 10, size=size)
    columns = np.nonzero((canvas < 200).any(axis=(0, 2)))[0]
    return columns.max() + 1


@pytest.mark.parametrize("width", [60, 150, 400])
def test_lines_fit_and_nothing_is_lost_without_a_mark(width):
    text = "kind crack, tone dark, contrast 4.82, step -62.3, strokes x2, seed 0/0/7"
    lines = wrap(text, width, lines=2, size=11)
    assert 1 <= len(lines) <= 2
    assert all(width_of(line, 11) <= width + 2 for line in lines)
    assert lines[-1].endswith("...") or " ".join(lines) == text


def test_a_word_wider_than_a_line_is_cut():
    (line,) = wrap("x" * 300, 100, lines=1, size=11)
    assert line.endswith("...")
    assert 3 < len(line) < 50


def test_text_of_any_script_is_drawn():
    canvas = np.full((40, 400, 3), 255, np.uint8)
    write(canvas, "Kratzer auf Öl, 划痕, ×2", 4, 10, size=13)
    assert (canvas < 128).any()
    assert wrap("Öl 划", 400, lines=1, size=11) == ["Ol ?"]
