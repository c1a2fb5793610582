"""DiGraP in Hugging Face's Trainer with a peft LoRA model: each kind of parameter gets the right anchor.

    python examples/hf_trainer_lora.py      needs transformers, peft and accelerate: pip install -e '.[all]'

A random Llama of two layers stands in for the pre-trained one; nothing is downloaded. `param_groups(model, peft=True)`
anchors LoRA's factors at zero, where the model is the pre-trained one, and DoRA's magnitudes and IA3's vectors at their
initial values. The head that peft adds for the task has no anchor. A zero anchor is not stored, and frozen weights have
no state.

The optimizer is passed as `optimizers=(…, None)`: we choose the groups, and the Trainer makes the schedule. If the
Trainer should create the optimizer itself (after it has wrapped the model), give it the class and the groups:
`optimizer_cls_and_kwargs=(DiGraP, {"lr": 1e-2, "params": param_groups(model, peft=True)})`.

θ0 is the value of a parameter when the optimizer is created. If training resumes from weights alone
(save_only_model=True, a second train()), pass the first values: `param_groups(model, peft=True, anchors=before)`, where
`before = {name: param.detach().clone() for name, param in model.named_parameters() if param.requires_grad}`.
"""

import tempfile

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import LlamaConfig, LlamaForSequenceClassification, Trainer, TrainingArguments

from digrap.optim import DiGraP, param_groups


def make_model() -> PeftModel:
    """A random model; in practice AutoModelForSequenceClassification.from_pretrained(…)."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=32, num_labels=2, pad_token_id=0,
    )  # fmt: skip
    # "SEQ_CLS" makes peft train and save the head `score` besides the adapters.
    lora = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "down_proj"])
    return get_peft_model(LlamaForSequenceClassification(config), lora)


def make_data(size: int = 128) -> list[dict[str, torch.Tensor]]:
    """Sequences of eight tokens; the label is whether the last token is above 31."""
    tokens = torch.randint(1, 64, (size, 8), generator=torch.Generator().manual_seed(1))
    return [
        {"input_ids": row, "attention_mask": torch.ones_like(row), "labels": (row[-1] > 31).long()} for row in tokens
    ]


def make_trainer(folder: str, **arguments) -> Trainer:
    """A Trainer that writes into `folder`; `arguments` go to TrainingArguments."""
    defaults = dict(
        max_steps=40, per_device_train_batch_size=32, logging_steps=5, save_strategy="no", report_to="none", seed=0,
    )  # fmt: skip
    args = TrainingArguments(output_dir=folder, **(defaults | arguments))
    model = make_model().to(args.device)  # before the optimizer is made, as for any optimizer passed in
    optimizer = DiGraP(param_groups(model, peft=True), lr=1e-2)  # args.learning_rate is not used
    return Trainer(model=model, args=args, train_dataset=make_data(), optimizers=(optimizer, None))


def main(**arguments) -> dict:
    """Train. Returns the losses, ω by parameter and the Trainer."""
    with tempfile.TemporaryDirectory() as folder:
        trainer = make_trainer(folder, **arguments)
        trainer.train()
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    report = trainer.optimizer.optimizer.omega_report()  # the Trainer's optimizer is accelerate's wrapper around ours
    mean = sum(row["omega"] for row in report.values()) / len(report)
    print(f"loss {losses[0]:.3f} → {losses[-1]:.3f}; mean ω of the adapters {mean:.3f}")
    return {"losses": losses, "report": report, "trainer": trainer}


if __name__ == "__main__":
    main()
