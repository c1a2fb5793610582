"""LAVIS's BLIP and ALBEF: the library's losses, rankings and answers of 2022; padding; weights there and back."""

import pytest
import torch

from tests.models.lavis_reference import ANSWERS, EACH, KNOWN, batch, reference  # first: it skips without LAVIS

from digrap.models.backbone import Decoding  # isort: skip
from digrap.models.lavis_classes import Albef, Blip  # isort: skip
from digrap.models.lavis_compat import AlbefVQA, BlipVQA  # isort: skip

LIBRARY = {"blip": BlipVQA, "albef": AlbefVQA}


@pytest.fixture(params=EACH)
def kind(request):
    return request.param


def inputs_of(module, questions, image):
    found = module.tokenizer.tokenizer(questions, padding="longest", return_tensors="pt")
    return {"image": image, "question": found["input_ids"], "question_mask": found["attention_mask"]}


def test_losses_rankings_and_answers_are_those_of_the_old_environment(kind, tmp_path):
    module, image = reference(kind, tmp_path)
    expected, losses = KNOWN["expected"][f"{kind}_vqa"], []
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    for _ in range(3):
        samples, inputs = batch(kind, module, image)
        loss = LIBRARY[kind].forward(module, samples).loss
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses == pytest.approx(expected["losses"], abs=2e-6)
    module.eval()
    assert module.rank(inputs, ANSWERS, 128) == expected["rank"]
    for beams in (1, 3) if kind == "blip" else ():
        tokens = module.generate(inputs, Decoding(beams=beams, max_new_tokens=KNOWN["max_len"] - 1))
        texts = module.tokenizer.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        assert texts == expected[f"generate_beams_{beams}"]


def test_one_answer_a_question_is_the_librarys_loss(kind, tmp_path):
    module, image = reference(kind, tmp_path)
    samples, inputs = batch(kind, module, image)
    inputs["answer"], inputs["answer_mask"] = inputs["answer"][:2], inputs["answer_mask"][:2]
    more = {"epoch": 3, "iters": 5, "num_iters_per_epoch": 9} if kind == "albef" else {}
    whole = {**samples, **module.samples(inputs), **more, "n_answers": torch.tensor([1, 1])}
    state = {name: value.clone() for name, value in module.state_dict().items()}
    ours = module(**inputs)
    module.load_state_dict(state)
    assert ours.item() == LIBRARY[kind].forward(module, whole).loss.item()


@pytest.mark.parametrize("beams", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_padding_changes_no_answer(kind, beams, tmp_path):
    module, image = reference(kind, tmp_path)
    with torch.no_grad():  # decided answers that differ from question to question
        for param in module.parameters():
            param.mul_(4 if param.ndim > 1 else 1)
    module.eval()
    questions, decoding = ["is this ?", "what color is the cat ? is the dog a b c d"], Decoding(beams=beams)
    both = inputs_of(module, questions, image)
    assert both["question_mask"].min() == 0
    alone = [inputs_of(module, [text], image[k : k + 1]) for k, text in enumerate(questions)]
    assert module.rank(both, ANSWERS, 4) == [module.rank(one, ANSWERS, 4)[0] for one in alone]
    for tokens, one in zip(module.generate(both, decoding), alone, strict=True):
        expected = module.generate(one, decoding)[0]
        assert tokens[tokens > 3].tolist() == expected[expected > 3].tolist()  # without padding and ends


@pytest.mark.parametrize("distill", [False, True])
def test_a_state_dict_loads_in_the_librarys_own_class(kind, distill, tmp_path):
    module, _ = reference(kind, tmp_path, distill)
    library = LIBRARY[kind]
    theirs = reference(kind, tmp_path, distill)[0]
    theirs.__class__ = type(library.__name__, (library,), {})  # its own methods, ours gone
    assert type(module) is {"blip": Blip, "albef": Albef}[kind] and not hasattr(theirs, "samples")
    assert any("_m." in name for name in module.state_dict()) == (distill and kind == "albef")
    with torch.no_grad():
        for value in theirs.state_dict().values():
            value.zero_()
    theirs.load_state_dict(module.state_dict(), strict=True)
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in theirs.state_dict().items())


def test_albefs_twins_follow_training_and_rest_in_evaluation(tmp_path):
    module, image = reference("albef", tmp_path)
    name = "text_encoder_m.encoder.layer.0.attention.self.query.weight"
    assert name in dict(module.named_buffers()) and name not in dict(module.named_parameters())
    inputs = batch("albef", module, image)[1]
    inputs = {key: value[:2] for key, value in inputs.items()}
    before = module.state_dict()[name].clone()
    with torch.no_grad():
        module.get_parameter(name.replace("_m.", ".")).add_(1)
    module.eval()
    module.rank(inputs, ANSWERS, 4)
    assert torch.equal(module.state_dict()[name], before)
    module.train()
    module(**inputs)
    torch.testing.assert_close(module.state_dict()[name], before + 0.005)


def test_albef_without_twins_trains(tmp_path):
    """The library's own class ends in UnboundLocalError."""
    module, image = reference("albef", tmp_path, distill=False)
    samples, inputs = batch("albef", module, image)
    with pytest.raises(UnboundLocalError):
        AlbefVQA.forward_decoder(module, samples, AlbefVQA.forward_encoder(module, samples)[:2])
    module(**{key: value[:2] for key, value in inputs.items()}).backward()
    assert all(param.grad is not None for param in module.parameters())
