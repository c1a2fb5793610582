"""Small trees of pictures in the published layouts of ImageNet, its shifted test sets, and DomainBed's sets."""

import json

import numpy as np
from PIL import Image

WORDNET = [f"n{10 * place:08d}" for place in range(1000)]  # sorted, as ImageNet's are
TRAINED = (3, 10, 500)  # places among them
WORDS = {3: "analog clock", 10: "digital clock", 500: "barber chair", 7: "wok, deep pan", 8: "wok, steel pan"}
PACS = {"art_painting", "cartoon", "photo", "sketch"}


def draw(path, seed, size=32, border=None):
    """Write a picture of noise, one of its channels full, which differs by seed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 200, (size, size, 3), dtype=np.uint8)
    pixels[..., seed % 3] = 255
    image = Image.fromarray(pixels)
    if border:
        image = Image.new("RGB", (size + 4, size + 4), border)
        image.paste(Image.fromarray(pixels), (2, 2))
    image.save(path)
    return path


def make_imagenet(root, trained=TRAINED, names=True):
    """Three classes of ImageNet, and of every shifted set those and others."""
    for place in trained:
        for number in range(8):
            draw(root / "train" / WORDNET[place] / f"{number}.JPEG", place)
        draw(root / "val" / WORDNET[place] / "0.JPEG", place)
        draw(root / "sketch" / WORDNET[place] / "0.JPEG", place)
    for place in (*trained, 7):
        draw(root / "imagenetv2-matched-frequency-format-val" / str(place) / "0.jpeg", place)
    for place in (500, 3, 8):
        draw(root / "imagenet-r" / WORDNET[place] / "art_0.jpg", place)
    (root / "imagenet-r" / "README.txt").write_text("renditions")
    draw(root / "imagenet-a" / WORDNET[10] / "0.jpg", 10)
    draw(root / "imagenet-a" / WORDNET[500] / "0.jpg", 500)
    make_objectnet(root / "objectnet-1.0")
    if names:
        lines = [f"{one} {WORDS.get(place, f'thing {place}')}" for place, one in enumerate(WORDNET)]
        (root / "LOC_synset_mapping.txt").write_text("\n".join(lines) + "\n")
    return root


def make_objectnet(root):
    """Four of its classes: one is two of ImageNet's, one is one, one is not trained, one is none of ImageNet's."""
    folders = {"alarm_clock": "Alarm clock", "chair": "Chair", "wok": "Wok", "battery": "Battery"}
    for place, folder in enumerate(folders):
        for number in range(2):
            draw(root / "images" / folder / f"{number}.png", place, border=(255, 0, 0))
    names = {place: WORDS.get(place, f"thing {place}") for place in range(1000)}
    mappings = {
        "folder_to_objectnet_label.json": folders,
        "objectnet_to_imagenet_1k.json": {
            "Chair": names[500], "Wok": names[7], "Alarm clock": f"{names[3]}; {names[10]}",
        },
        "pytorch_to_imagenet_2012_id.json": {str(place): 999 - place for place in range(1000)},
    }  # fmt: skip
    (root / "mappings").mkdir()
    for name, content in mappings.items():
        (root / "mappings" / name).write_text(json.dumps(content))
    (root / "mappings" / "imagenet_to_label_2012_v2").write_text("".join(f"{names[999 - k]}\n" for k in range(1000)))


def make_domainbed(root, name="PACS", domains=PACS, classes=("dog", "guitar", "house"), count=10):
    """A set of DomainBed's: root/<name>/<domain>/<class>/*.jpg."""
    for domain in sorted(domains):
        for place, label in enumerate(classes):
            for number in range(count):
                draw(root / name / domain / label / f"pic_{number:03d}.jpg", 3 * number + place)
    return root
