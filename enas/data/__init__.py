"""Images: loaded once, kept on the device as bytes, batched and augmented there.

loading.py     a DataConfig becomes a DataSet
sets.py        ImageSet, DataSet, Augmentation
splitting.py   seeded, stratified splits
arrays.py      images in arrays, kept as a file
digits.py      the data set that ships with the package
named.py       data sets by name, through torchvision; download.py gets them
folder.py      image folders: listing.py lists, decode.py decodes, cache.py remembers
resize.py      images in memory
pipeline.py    batches; trivial.py is TrivialAugment
mixup.py       mixtures of images
"""

from enas.data.arrays import keep_arrays
from enas.data.loading import augmentation, load, places
from enas.data.mixup import mixup
from enas.data.pipeline import (
    augment,
    draw_augmentation,
    evaluation_batches,
    normalise,
    random_batch,
    training_batches,
    training_images,
    training_steps,
)
from enas.data.resize import resize
from enas.data.sets import Augmentation, DataSet, ImageSet
from enas.data.splitting import split

__all__ = [
    "Augmentation",
    "DataSet",
    "ImageSet",
    "augment",
    "augmentation",
    "draw_augmentation",
    "evaluation_batches",
    "keep_arrays",
    "load",
    "mixup",
    "normalise",
    "places",
    "random_batch",
    "resize",
    "split",
    "training_batches",
    "training_images",
    "training_steps",
]
