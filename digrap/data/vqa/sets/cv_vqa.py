"""CV-VQA (Agarwal, Shetty and Fritz 2020): one counted thing is removed from the picture, the answer is one less.

Traps: see _edited.py. `multiple_choice_answer` is still the count of the unedited picture; only the ten answers are
read. The authors score the first prediction of a question id for all of its edits.
"""

from __future__ import annotations

from digrap.data.vqa.sets._edited import edited_set

SET = edited_set("cv_vqa", "CV-VQA", "cv-vqa", "CV_VQA_annotations_0.1_0.0.tar.gz", "CV_VQA_val2014.tar.gz")
