"""Reading pictures of every kind as RGB, and finding the missing ones."""

import numpy as np
import pytest
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.data.images import absent_files, read_picture, read_truncated


def test_every_kind_of_picture_becomes_rgb(tmp_path):
    ramp = np.linspace(0, 255, 40 * 30).astype(np.uint8).reshape(30, 40)
    grey = tmp_path / "grey.png"
    Image.fromarray(ramp).save(grey)
    assert (np.asarray(read_picture(grey)) == ramp[..., None]).all()

    deep = tmp_path / "deep.tif"
    Image.fromarray(ramp.astype(np.uint16) * 257).save(deep)
    assert (np.asarray(read_picture(deep)) == ramp[..., None]).all()

    palette = Image.new("P", (40, 30), 1)
    palette.putpalette([0, 0, 0, 250, 10, 10])
    palette.paste(0, (0, 0, 20, 30))
    palette.save(tmp_path / "palette.png", transparency=b"\x00\xff")  # colour 0 is clear
    read = np.asarray(read_picture(tmp_path / "palette.png"))
    assert (read[:, :20] == 255).all() and (read[:, 20:] == (250, 10, 10)).all()

    Image.new("CMYK", (40, 30), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    assert np.abs(np.asarray(read_picture(tmp_path / "cmyk.jpg"), int) - (255, 0, 0)).max() < 6

    turned, exif = Image.new("RGB", (40, 30), "white"), Image.Exif()
    turned.paste((0, 0, 0), (0, 0, 20, 30))  # left half black
    exif[0x0112] = 6  # shown after a quarter turn clockwise: left becomes top
    turned.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    read = np.asarray(read_picture(tmp_path / "turned.jpg"))
    assert read.shape == (40, 30, 3) and read[:15].max() < 20 and read[25:].min() > 235


def test_pixels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "depth.tif")
    with pytest.raises(DigrapError, match=r"depth.tif: .*mode F.*8 or 16 bits"):
        read_picture(tmp_path / "depth.tif")


def test_the_start_of_a_truncated_picture_is_read(tmp_path):
    path = tmp_path / "a.jpg"
    Image.effect_noise((64, 64), 80).convert("RGB").save(path, quality=95)
    whole = np.asarray(read_truncated(path))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DigrapError, match="a.jpg: the picture cannot be read"):
        read_picture(path)
    start = np.asarray(read_truncated(path))
    assert start.shape == whole.shape and (start[:16] == whole[:16]).all() and not (start[-8:] == whole[-8:]).all()
    path.write_bytes(b"no picture")
    with pytest.raises(DigrapError, match="a.jpg: the picture cannot be read"):
        read_truncated(path)


def test_absent_files_keep_their_order(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.jpg").touch()
    assert absent_files(tmp_path, ["real/2.jpg", "real/1.jpg", "none/1.jpg", "1.jpg"]) == [
        "real/2.jpg", "none/1.jpg", "1.jpg",
    ]  # fmt: skip
