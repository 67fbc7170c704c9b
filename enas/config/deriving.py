"""Settings of what comes after the training of shared weights: the choice of the final architecture, and the audit."""

from __future__ import annotations

from dataclasses import dataclass

from enas import halving
from enas.config.checked import Checked, setting
from enas.errors import UserError

CRITERIA = ("own", "vote", "effects")  # that finalists are chosen by
FINALIST_CRITERIA = ("accuracy", "training-loss")  # that they are compared by
# settings of the finalists' training that must be as usual where there is none (halving_eta has a check of its own)
OF_FINALISTS = (
    "finalist_weights",
    "finalist_image_size",
    "finalist_batch_size",
    "finalist_lr_max",
    "finalist_rounds",
)
PARENTS = 5  # the best finalists, whose neighbours a further round tries: which is the very best is not certain
LEAST_AUDITED = 10  # networks below which the interval of a rank correlation says nothing


@dataclass(frozen=True, kw_only=True)
class DeriveConfig(Checked):
    """Choosing the final architecture, and how far it is from chance."""

    samples: int = setting(100, "architectures sampled and scored on the whole validation set", low=2)
    random: int = setting(100, "uniform random architectures scored the same way, for comparison", low=2)
    finalists: int = setting(5, "best of them that are trained on their own for a short time", low=1)
    finalist_epochs: int = setting(2, "epochs of that training (0: the first of them wins)", low=0)
    finalist_weights: str = setting(
        "fresh",
        "what that training starts from: weights of its own (fresh), or the shared ones (inherited)",
        choices=("fresh", "inherited"),
        option="--finalist-weights",
    )
    finalist_criterion: str = setting(
        "accuracy",
        "what finalists are compared by: their accuracy on the validation images (accuracy), or their mean loss in the "
        "last epoch of that training, which is measured on all its images and tells networks apart that validation "
        "images do not (training-loss): for trainings too short to overfit",
        choices=FINALIST_CRITERIA,
    )
    finalist_image_size: int | None = setting(
        None,
        "side in pixels of the images that finalists are trained and compared on, at most the search's; costs are of "
        "those of the search (default: the search's)",
        low=4,
        high=2048,
    )
    finalist_batch_size: int | None = setting(
        None, "images in a step of that training (default: as in those of the shared weights)", low=2, high=65536
    )
    finalist_lr_max: float | None = setting(
        None, "highest learning rate of that training (default: that of the shared weights)", above=0
    )
    finalist_rounds: int = setting(
        1,
        "rounds of finalists: those of each further round are the best of up to as many samples again, networks one "
        f"or two changes of a choice away from one of the {PARENTS} finalists that are best so far; the best of all "
        "rounds wins",
        low=1,
        high=1000,
    )
    halving_eta: int = setting(
        0,
        "successive halving: at each of some epochs only one in so many finalists goes on, the others are judged by "
        "what they have (0: all are trained to the end)",
        low=0,
        high=1000,
    )
    halving_first: int = setting(2, "successive halving: epochs before the first selection, at least", low=1)
    criterion: str = setting(
        "own",
        "what the best are chosen by: each architecture's own reward (own), a weighted mean of its ranks by loss "
        "and by naswot and synflow, which need no training (vote), or the sum of its choices' effects on the loss, as "
        "uniform architectures of high loss show them (effects)",
        choices=CRITERIA,
        option="--criterion",
    )
    effects_from: int = setting(1000, "criterion effects: uniform architectures that are scored for it", low=10)
    effects_images: int = setting(1000, "criterion effects: validation images that they are scored on", low=2)
    random_per_epoch: int = setting(
        20, "architectures of the controller and as many uniform ones scored after each epoch", low=2
    )
    images_per_epoch: int = setting(256, "validation images of that comparison", low=2)
    batch_size: int = setting(250, "validation images in a pass when scoring on the whole set", low=4)

    def __post_init__(self) -> None:
        super().__post_init__()
        halving.check_eta(self.halving_eta, "finalist")

    @property
    def rounds(self) -> int:
        """Rounds of finalists: without training there is nothing to go on from."""
        return self.finalist_rounds if self.finalist_epochs else 1

    @property
    def rungs(self) -> tuple[int, ...]:
        """Epochs after which finalists are compared, the last one being the end."""
        return halving.rungs(self.finalist_epochs, self.halving_eta, self.halving_first)


@dataclass(frozen=True, kw_only=True)
class AuditConfig(Checked):
    """The trust report after a search with shared weights."""

    networks: int = setting(
        0,
        "after a search with shared weights, train so many uniform architectures and the found one on their own, as "
        f"full_training says, and report how well the proxy ranks and whether the found one is better; {LEAST_AUDITED} "
        "or more (0: no report)",
        option="--audit",
        low=0,
        high=10**5,
    )
    repeats: int = setting(3, "trainings of the found architecture, each with a seed of its own", low=2, high=1000)
    pool: int = setting(
        200,
        "uniform architectures, or as many as are trained if those are more, over whose range of proxy scores the "
        "trained ones are spread",
        low=LEAST_AUDITED,
        high=10**6,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if 0 < self.networks < LEAST_AUDITED:
            raise UserError(
                f"networks must be 0 (no report) or at least {LEAST_AUDITED} to tell a thing, but got {self.networks}"
            )
