"""A function of your own, in whatever framework: scikit-learn's digits, as a study and as a search.

python study/run.py examples/digits.py
python study/run.py examples/digits.py:digits_search
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

from lora_study import Choice, Confirmation, Float, Metric, Objective, Profile, SearchSpec, Space, Study, plain

EPOCHS = 15


def train(config, seed):
    images, labels = load_digits(return_X_y=True)
    train_x, rest_x, train_y, rest_y = train_test_split(
        images / 16, labels, train_size=500, random_state=seed, stratify=labels
    )
    val_x, test_x, val_y, test_y = train_test_split(rest_x, rest_y, test_size=0.5, random_state=0, stratify=rest_y)
    model = MLPClassifier((config["width"],), learning_rate_init=config["lr"], random_state=seed)
    for _ in range(EPOCHS):
        model.partial_fit(train_x, train_y, classes=range(10))
        found = {"val_accuracy": model.score(val_x, val_y)}
        if config["evaluate"] == "test":  # not while a search compares configurations
            found["accuracy"] = model.score(test_x, test_y)
        yield found


accuracy = Metric(unit="fraction", low=0.0, high=1.0)
mlp = plain(
    train,
    "mlp",
    metrics={"accuracy": accuracy, "val_accuracy": Metric(unit="fraction", low=0.0, high=1.0, held_out=True)},
)
profiles = {"default": Profile(seeds=5)}

digits = Study(
    name="digits",
    question="Does a wider layer read digits better?",
    trainable=mlp,
    configurations={f"width {width}": {"width": width, "lr": 0.003} for width in (8, 32, 128)},
    objective=Objective(metric="accuracy"),
    profiles=profiles,
)

digits_search = Study(
    name="digits_search",
    question="Which width and learning rate read digits best?",
    trainable=mlp,
    configurations={"width 32": {"width": 32, "lr": 0.003}},
    objective=Objective(metric="accuracy"),
    profiles=profiles,
    search=SearchSpec(
        space=Space({"width": Choice((8, 16, 32, 64, 128)), "lr": Float(1e-4, 1e-1, log=True)}),
        objectives=(Objective(metric="val_accuracy"),),
        schedule="halving:1,2,4",
        trials=8,
        confirm=Confirmation(configurations=2, seeds=4),
    ),
)
