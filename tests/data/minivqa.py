"""Sizes of a small minivqa, and of a smaller one whose folder is all that counts."""

from digrap.data.mini.vqa.twins import Sizes

SMALL = Sizes(
    train=600, val=400, iv_vqa=90, cv_vqa=60, vqa_rephrasings=80, vqa_cp=200, advqa=60, textvqa=60, vizwiz=90, ok_vqa=80
)
TINY = Sizes(*[40] * 10)
