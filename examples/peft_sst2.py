"""PEFT in a Hugging Face Trainer, untouched, as a study: which rank of LoRA does a sentiment classifier need?

    python study/run.py examples/peft_sst2.py
    python study/run.py examples/peft_sst2.py --dataset path/to/glue-sst2 --backbone path/to/bert-folder

Without ``--dataset`` and ``--backbone`` it reads the reviews and the small BERT that come with lora-study.
"""

import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset, load_dataset
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
)

import trainables
from lora_study import Metric, Objective, Profile, Study, plain
from trainables.embedded.reviews import reviews

REVIEW_BERT = Path(trainables.__file__).parent / "embedded" / "weights" / "review_bert"


def texts(dataset, split, count):
    if dataset:
        return load_dataset(dataset, split=split).shuffle(seed=0).select(range(count))
    sentences, labels = reviews("train" if split == "train" else "test", count)
    return Dataset.from_dict({"sentence": sentences, "label": labels})


def train(config, seed):
    name = config.get("backbone", REVIEW_BERT)
    tokenizer = AutoTokenizer.from_pretrained(name)

    def tokens(split, count):
        rows = texts(config.get("dataset"), split, count)
        return rows.map(lambda row: tokenizer(row["sentence"], truncation=True, max_length=64))

    model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=2)
    adapter = LoraConfig(r=config["rank"], lora_alpha=2 * config["rank"], target_modules=["query", "value"],
                         modules_to_save=["classifier"])  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=get_peft_model(model, adapter),
            args=TrainingArguments(
                folder,
                seed=seed,
                learning_rate=config["lr"],
                num_train_epochs=4,
                per_device_train_batch_size=16,
                per_device_eval_batch_size=128,
                report_to="none",
                save_strategy="no",
                disable_tqdm=True,
                logging_strategy="no",
            ),  # fmt: skip
            train_dataset=tokens("train", config["train_examples"]),
            eval_dataset=tokens("validation", 400),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda p: {"accuracy": float(np.mean(p.predictions.argmax(-1) == p.label_ids))},
        )
        trainer.train()
        found = trainer.evaluate()
    return {"accuracy": found["eval_accuracy"], "loss": found["eval_loss"]}


peft_sst2 = Study(
    name="peft_sst2",
    question="Which rank of LoRA does the classifier need?",
    trainable=plain(
        train,
        "peft_trainer",
        metrics={
            "accuracy": Metric(unit="fraction", low=0.0, high=1.0),
            "loss": Metric("minimize", unit="nats", low=0.0),
        },
    ),  # fmt: skip
    configurations={f"r={rank}": {"rank": rank, "lr": 2e-3, "train_examples": 3000} for rank in (1, 4, 16)},
    objective=Objective(metric="accuracy"),
    profiles={"default": Profile(seeds=3)},
)
