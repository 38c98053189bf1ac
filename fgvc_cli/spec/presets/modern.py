"""Presets as users fine-tune today: a large network trained on ImageNet-22k, for any method."""

from __future__ import annotations

from collections.abc import Callable

from fgvc_cli.spec.backbone import BackboneSpec
from fgvc_cli.spec.data import DatasetName, DataSpec
from fgvc_cli.spec.methods.baseline import BaselineSpec
from fgvc_cli.spec.optim import AdamW, Cosine, OptimSpec
from fgvc_cli.spec.regularise import RegulariseSpec
from fgvc_cli.spec.run import RunSpec
from fgvc_cli.spec.train import TrainSpec

_PUBLIC: dict[DatasetName, str] = {
    "cub": "CUB-200-2011",
    "cars": "Stanford Cars",
    "aircraft": "FGVC-Aircraft (variants)",
    "dogs": "Stanford Dogs",
    "nabirds": "NABirds",
}
_OWN: dict[DatasetName, tuple[str, str]] = {
    "folder": ("your own folder of photos", " --data-dir PHOTOS"),
    "csv": ("your own table of photos", " --data-dir PHOTOS.csv"),
}
_CROPS = {  # resize → why
    510: "as mmpretrain's configuration of Swin-L for CUB at 384 has it (cub_bs8_384.py)",
    438: "of which 384 is 0.875, the centre crop with which ImageNet networks are usually tested",
}
_ABOUT = """ConvNeXt-B of ImageNet-22k at 384 on {what}.

Takes any method: --method NAME. It needs a GPU. Its accuracy is not measured yet.

Network: ConvNeXt-B at 384 pixels, trained on ImageNet-22k, then on ImageNet-1k (timm, Apache-2.0). With 89 M parameters
it reaches 86.8 % top-1 there (https://github.com/facebookresearch/ConvNeXt), Swin-B with 88 M 86.4 %
(https://arxiv.org/abs/2103.14030, Table 1); and it takes images of any size.
Of its authors' own fine-tuning at 384 (TRAINING.md there; https://arxiv.org/abs/2201.03545, Table 5): AdamW with rate
5e-5 and weight decay 1e-8, layer decay 0.8, drop path 0.2, label smoothing 0.1, 30 epochs, cosine. Their batch is 512,
of a million images; the rate is not lowered for the smaller batch here, as a small dataset has few steps.
Batch {batch} × {accumulate} accumulated: for memory. Weight decay spares biases and norms: as everywhere in timm.
Warm-up 3 epochs: a tenth, the warm-up ratio in Hugging Face's examples of fine-tuning.
Gradient clipped at 5: mmpretrain's configuration of Swin-L for CUB (swin-large_8xb8_cub-384px.py).
Head × 10, the rate of what is new: as in AP-CNN, whose trunk learns at a tenth of it.
Images resized to {resize}, {why}. Their shape is not kept, as in the papers and in
timm's test of these weights; --fit crop and --fit pad keep it.
Moving average {ema}: the authors' 0.9999 is for hundreds of thousands of steps, a run of this preset has {steps}.
Paper: none.
Command: fgvc train --preset modern-{dataset}{data_dir}
Published: nothing under this recipe."""
_BATCH, _ACCUMULATE = 16, 2


def _preset(
    dataset: DatasetName, what: str, data_dir: str, resize: int, ema: float, steps: str
) -> Callable[[], RunSpec]:
    def recipe() -> RunSpec:
        return RunSpec(
            method=BaselineSpec(pool="network"),
            backbone=BackboneSpec(name="timm:convnext_base.fb_in22k_ft_in1k_384", weights="imagenet", drop_path=0.2),
            data=DataSpec(dataset=dataset, image_size=384, resize=resize),
            optim=OptimSpec(
                optimizer=AdamW(),
                lr=5e-5,
                weight_decay=1e-8,
                decay="weights",
                layer_decay=0.8,
                head_lr=10,
                schedule=Cosine(),
                warmup_epochs=3,
                accumulate=_ACCUMULATE,
                clip_norm=5,
            ),
            regularise=RegulariseSpec(label_smoothing=0.1),
            train=TrainSpec(epochs=30, batch_size=_BATCH, precision="bf16", ema_decay=ema),
        )

    recipe.__name__ = f"modern_{dataset}"
    recipe.__doc__ = _ABOUT.format(
        what=what,
        batch=_BATCH,
        accumulate=_ACCUMULATE,
        resize=resize,
        why=_CROPS[resize],
        ema=ema,
        steps=steps,
        dataset=dataset,
        data_dir=data_dir,
    )
    return recipe


MODERN = (
    *(_preset(dataset, *named, 438, 0.99, "hundreds") for dataset, named in _OWN.items()),
    *(_preset(dataset, name, "", 510, 0.999, "thousands") for dataset, name in _PUBLIC.items()),
)
