"""IV-VQA (Agarwal, Shetty and Fritz 2020): one category of things is removed from the picture, the answer stays.

Traps: see _edited.py. The authors score the first prediction of a question id for all of its edits.
"""

from __future__ import annotations

from digrap.data.vqa.sets._edited import edited_set

SET = edited_set("iv_vqa", "IV-VQA", "iv-vqa", "annotations_0.1_0.1.tar.gz", "val2014_edited.tar.gz")
