"""Image sets: where images come from, how they are split, stored, varied and fed to a network."""

from model_compression.images.augmentation import AugmentationParameters, augment
from model_compression.images.batches import Batch, Batches
from model_compression.images.contact_sheet import contact_sheet, thumbnail
from model_compression.images.folder import FolderSource
from model_compression.images.idx import IdxSource
from model_compression.images.image_set import ImageArray, ImageSet, ImageSetError
from model_compression.images.normalization import Normalization, compute_normalization
from model_compression.images.raw_images import ImageSourceError
from model_compression.images.sources import DataParameters, Splits, load_images
from model_compression.images.splits import stratified_split, stratified_subset
from model_compression.images.storage import read_image_set, write_image_set
from model_compression.images.supply import RESIDENT_SHARE, resident, to_device
from model_compression.images.torchvision_source import TorchvisionSource
from model_compression.pictures import PixelFormat, fit_image, to_picture

__all__ = [
    "RESIDENT_SHARE",
    "AugmentationParameters",
    "Batch",
    "Batches",
    "DataParameters",
    "FolderSource",
    "IdxSource",
    "ImageArray",
    "ImageSet",
    "ImageSetError",
    "ImageSourceError",
    "Normalization",
    "PixelFormat",
    "Splits",
    "TorchvisionSource",
    "augment",
    "compute_normalization",
    "contact_sheet",
    "fit_image",
    "load_images",
    "read_image_set",
    "resident",
    "stratified_split",
    "stratified_subset",
    "thumbnail",
    "to_device",
    "to_picture",
    "write_image_set",
]
