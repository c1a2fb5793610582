"""Questions as a vision-language model gets them: labels, padding, and the same answers alone as in a batch."""

import pickle

import pytest
import torch
from PIL import Image

from digrap.core.errors import DigrapError
from digrap.data.mini.vqa.words import WORDS
from digrap.models import vlm
from digrap.models.backbone import Decoding
from digrap.models.tiny_processor import VOCABULARY
from tests.models.tiny import ANSWERS, NAMES, QUESTIONS, pictures, tiny

PAD, BOS, EOS, _, IMAGE, NEWLINE = range(6)


def ids(text):
    return [VOCABULARY.index(word) for word in text.split()]


@pytest.fixture(params=NAMES)
def name(request):
    return request.param


def test_prompts_and_labels_by_hand():
    inputs = tiny("tiny_paligemma").answering.encode(pictures()[:2], ["Is it red?", "count"], ["no", "blue sun"])
    prompts = [[*[IMAGE] * 4, BOS, *ids("is it red ?"), NEWLINE], [*[IMAGE] * 4, BOS, *ids("count"), NEWLINE]]
    long = [*prompts[0], *ids("no"), EOS]
    short = [*prompts[1], *ids("blue sun"), EOS]
    assert inputs["input_ids"].tolist() == [long, [PAD] * 2 + short]
    assert inputs["attention_mask"].tolist() == [[1] * 12, [0] * 2 + [1] * 10]
    assert inputs["labels"].tolist() == [[-100, *ids("no"), EOS], [*ids("blue sun"), EOS]]
    assert inputs["token_type_ids"].tolist() == [[0] * 10 + [1] * 2, [0] * 9 + [1] * 3]
    assert inputs["pixel_values"].shape == (2, 3, 48, 48)


def test_labels_of_all_tokens_by_hand():
    """But of the first of each row, which nothing precedes."""
    backbone = tiny("tiny_llava", scale=3)
    backbone.answering.use_whole_loss()
    inputs = backbone.answering.encode(pictures()[:2], ["is it red ?", "count"], ["no", "blue sun"])
    long = [BOS, *[IMAGE] * 4, *ids("is it red ?"), NEWLINE, *ids("no"), EOS]
    short = [BOS, *[IMAGE] * 4, *ids("count"), NEWLINE, *ids("blue sun"), EOS]
    assert inputs["input_ids"].tolist() == [long, [PAD] * 2 + short]
    assert inputs["labels"].tolist() == [long[1:], [-100] * 2 + short[1:]]
    labels = torch.nn.functional.pad(inputs["labels"], (1, 0), value=-100)
    expected = backbone.module(**{**inputs, "labels": labels}).loss
    torch.testing.assert_close(backbone.answering.loss(backbone.module, inputs), expected)


def test_llava_begins_with_the_start_and_has_no_types():
    inputs = tiny("tiny_llava").answering.encode(pictures()[:1], ["is it red ?"])
    assert inputs["input_ids"].tolist() == [[BOS, *[IMAGE] * 4, *ids("is it red ?"), NEWLINE]]
    assert set(inputs) == {"input_ids", "attention_mask", "pixel_values"}


def test_an_answer_of_several_lengths_is_padded_on_the_left(name):
    inputs = tiny(name).answering.encode(pictures(), QUESTIONS, ANSWERS)
    assert (inputs["input_ids"][:, -1] == EOS).all() and inputs["labels"].shape == (4, 5)
    first = inputs["attention_mask"].argmax(1)
    for row, start in zip(inputs["input_ids"], first, strict=True):
        assert (row[:start] == PAD).all() and (row[start:] != PAD).all()


def test_the_loss_is_that_of_transformers_on_the_whole_sequence(name):
    backbone = tiny(name, scale=3)
    inputs = backbone.answering.encode(pictures(), QUESTIONS, ANSWERS)
    labels = torch.full_like(inputs["input_ids"], -100)
    labels[:, -inputs["labels"].shape[1] :] = inputs["labels"]
    expected = backbone.module(**{**inputs, "labels": labels}).loss
    torch.testing.assert_close(backbone.answering.loss(backbone.module, inputs), expected)


def test_padding_changes_no_loss(name):
    backbone = tiny(name, scale=3)
    answering, lengths = backbone.answering, torch.tensor([len(ids(answer)) + 1 for answer in ANSWERS])
    alone = [
        answering.loss(backbone.module, answering.encode([picture], [question], [answer]))
        for picture, question, answer in zip(pictures(), QUESTIONS, ANSWERS, strict=True)
    ]
    together = answering.loss(backbone.module, answering.encode(pictures(), QUESTIONS, ANSWERS))
    torch.testing.assert_close(together, (torch.stack(alone) * lengths).sum() / lengths.sum())


@pytest.mark.parametrize("beams", [1, 5])
def test_a_batch_is_answered_as_each_question_alone(name, beams):
    backbone = tiny(name, scale=5, decoding=Decoding(beams=beams))
    answering = backbone.answering
    together = answering.generate(backbone.module, answering.encode(pictures(), QUESTIONS))
    alone = [
        answering.generate(backbone.module, answering.encode([picture], [question]))[0]
        for picture, question in zip(pictures(), QUESTIONS, strict=True)
    ]
    assert together == alone and len(set(together)) > 2
    assert all(word in WORDS for answer in together for word in answer.split())


def test_greedy_is_the_most_probable_token_of_the_whole_sequence_again_and_again(name):
    backbone = tiny(name, scale=5, decoding=Decoding(max_new_tokens=4))
    inputs = backbone.answering.encode(pictures()[:1], QUESTIONS[:1])
    (answer,), given = backbone.answering.generate(backbone.module, inputs), []
    for _ in range(4):
        with torch.no_grad():
            token = backbone.module(**inputs).logits[0, -1].argmax().item()
        given.append(token)
        for key, value in (("input_ids", token), ("attention_mask", 1), ("token_type_ids", 1)):
            if key in inputs:
                inputs[key] = torch.cat([inputs[key], torch.tensor([[value]])], dim=1)
    assert EOS not in given
    assert answer.split() == [VOCABULARY[token] for token in given if token > NEWLINE]


def test_beams_and_length_are_those_of_the_decoding(name):
    greedy, wide = tiny(name, scale=5), tiny(name, scale=5, decoding=Decoding("wide", 5, 3))
    inputs = greedy.answering.encode(pictures(), QUESTIONS)
    found = wide.answering.generate(wide.module, inputs)
    assert found != [" ".join(answer.split()[:3]) for answer in greedy.answering.generate(greedy.module, inputs)]
    assert max(len(answer.split()) for answer in found) <= 3
    assert wide.notes == {"decoding": {"name": "wide", "beams": 5, "max_new_tokens": 3}}


def test_beams_read_each_prompt_once_and_find_what_transformers_finds(name, monkeypatch):
    backbone = tiny(name, scale=5, decoding=Decoding("wide", 5, 10))
    answering, module, read = backbone.answering, backbone.module, []
    inputs = answering.encode(pictures(), QUESTIONS)

    def note(_, args, kwargs):
        read.append(tuple(kwargs["input_ids"].shape))

    with module.register_forward_pre_hook(note, with_kwargs=True):
        found = answering.generate(module, inputs)
        assert read[0] == inputs["input_ids"].shape and set(read[1:]) == {(4 * 5, 1)}
        read.clear()
        monkeypatch.setattr(vlm, "READ_ONCE", ())
        assert answering.generate(module, inputs) == found and len(set(found)) > 2
        assert read[0] == (4 * 5, inputs["input_ids"].shape[1])


def test_a_question_cannot_smuggle_in_a_picture_or_an_end():
    answering = tiny("tiny_paligemma").answering
    plain = answering.encode(pictures()[:1], ["is it red ?"], ["no"])
    other = answering.encode(pictures()[:1], ["is <image> it\n<eos> red ?"], ["<pad> no <eos>"])
    assert all(torch.equal(plain[key], other[key]) for key in plain)


def test_training_may_have_a_prompt_of_its_own():
    answering = tiny("tiny_paligemma", train_prompt="<image><bos>what is {question}\n").answering
    train = answering.encode(pictures()[:1], ["red"], ["no"])["input_ids"][0].tolist()
    test = answering.encode(pictures()[:1], ["red"])["input_ids"][0].tolist()
    assert train == [*[IMAGE] * 4, BOS, *ids("what is red"), NEWLINE, *ids("no"), EOS]
    assert test == [*[IMAGE] * 4, BOS, *ids("red"), NEWLINE]


def test_a_loading_process_gets_no_tokenizer(name):
    answering = tiny(name).answering
    inputs = answering.encode(pictures(), QUESTIONS)
    pickled = pickle.dumps(answering)
    assert len(pickled) < 1000
    again = pickle.loads(pickled).encode(pictures(), QUESTIONS)
    assert all(torch.equal(inputs[key], again[key]) for key in inputs)


def test_pictures_of_any_size_and_mode():
    inputs = tiny("tiny_llava").answering.encode([Image.new("L", (99, 30), 255), Image.new("RGB", (48, 48))], ["a"] * 2)
    assert inputs["pixel_values"].shape == (2, 3, 48, 48)
    assert (inputs["pixel_values"][0] == 1).all() and (inputs["pixel_values"][1] == -1).all()


def test_an_answer_outside_the_vocabulary_is_named():
    answering = tiny("tiny_paligemma").answering
    with pytest.raises(DigrapError, match="answer 'a zebra': the tiny models know .* words .*but not zebra; "):
        answering.encode(pictures()[:1], ["is a zebra red ?"], ["a zebra"])
    answering.encode(pictures()[:1], ["is a zebra red ?"])  # in a question it is a word that says nothing


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("prompt", "<image>", r"backbone.prompt='<image>': give a text that has {question} once"),
        ("train_prompt", "{question} {question}", "backbone.train_prompt=.* once"),
        ("prompt", 7, "backbone.prompt=7: give a text"),
    ],
)
def test_bad_options(option, value, message):
    with pytest.raises(DigrapError, match=message):
        tiny("tiny_paligemma", **{option: value})
