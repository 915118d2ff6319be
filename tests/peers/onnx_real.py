"""Architectures as their frameworks ship them, exported by the frameworks' own exporters and held against ONNX Runtime.

    python tests/peers/onnx_real.py export FAMILY DIR [NAME...]    # FAMILY: keras, tf, paddle, torch, vision, timm
    python tests/peers/onnx_real.py hold DIR target/release/cnnc [NAME...]
    python tests/peers/onnx_real.py fixtures                       # the few small ones that tests/it/onnx_models.rs always runs

`export` needs the family's packages (tensorflow-cpu with keras and tf2onnx; paddlepaddle with paddle2onnx; torch, torchvision, timm
with onnxscript), `hold` numpy, onnx and onnxruntime. Weights are random; statistics of normalisations and biases are random
too, so that nothing is nothing by chance. Each model is checked and run by cnnc, written as a program (`cnnc import`) where
it has that form, and that is run again; outputs agree to 1e-3 of each number and 2e-5 of the largest magnitude, or to four times
what ONNX Runtime's own optimisations change, where a deep network with random weights makes noise of rounding.
"""

import functools
import os
import pathlib
import re
import subprocess
import sys
import time
import warnings

import numpy as np

warnings.filterwarnings("ignore")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")


# --- keras: `model.export(format="onnx")`, and tf2onnx ------------------------------------------------------------------------------


def keras_models():
    from keras import applications as a

    def of(make, size, **more):
        return lambda: make(weights=None, input_shape=(size, size, 3), classifier_activation=None, **more)

    return {
        "mobilenet": of(a.MobileNet, 64, alpha=0.5),
        "mobilenetv2": of(a.MobileNetV2, 96),
        "mobilenetv3s": of(a.MobileNetV3Small, 64),
        "mobilenetv3l": of(a.MobileNetV3Large, 64, minimalistic=True),
        "efficientnetb0": of(a.EfficientNetB0, 64),
        "efficientnetv2b0": of(a.EfficientNetV2B0, 64),
        "resnet50v2": of(a.ResNet50V2, 64),
        "densenet121": of(a.DenseNet121, 64),
        "xception": of(a.Xception, 75),
        "inceptionv3": of(a.InceptionV3, 75),
        "nasnetmobile": of(a.NASNetMobile, 64),
        "convnexttiny": of(a.ConvNeXtTiny, 64),
        "kunet": keras_unet,
        "kocr": keras_ocr,
        "kaudio": keras_audio,
        "kvideo": keras_video,
        "kdcgan": keras_gan,
        "kmisc": keras_misc,
        "kssd": keras_ssd,
    }


def keras_unet():
    from keras import Model, layers as l

    x = i = l.Input((None, None, 3))
    kept = []
    for c in (8, 16):
        x = l.Conv2D(c, 3, padding="same", use_bias=False)(x)
        x = l.BatchNormalization()(x)
        x = l.LeakyReLU()(x)
        kept.append(x)
        x = l.MaxPooling2D()(x)
    x = l.SpatialDropout2D(0.2)(l.SeparableConv2D(24, 3, padding="same", activation="swish")(x))
    x = l.UpSampling2D(interpolation="bilinear")(x)
    x = l.Concatenate()([x, kept.pop()])
    x = l.Conv2D(16, 3, padding="same", activation="elu")(x)
    x = l.Conv2DTranspose(8, 3, strides=2, padding="same")(x)
    x = l.Concatenate()([x, kept.pop()])
    x = l.GroupNormalization(groups=4)(l.Conv2D(8, 3, padding="same")(x))
    return Model(i, l.Conv2D(1, 1, activation="sigmoid")(l.Activation("gelu")(x))), (1, 32, 48, 3)


def keras_ocr():
    from keras import Model, layers as l

    x = i = l.Input((32, 80, 1))
    for c, p in ((8, (2, 2)), (16, (2, 2)), (24, (2, 1)), (24, (4, 1))):
        x = l.Conv2D(c, 3, padding="same")(x)
        x = l.ReLU()(l.BatchNormalization()(x))
        x = l.MaxPooling2D(p)(x)
    x = l.Reshape((20, 24))(x)
    x = l.Permute((2, 1))(x)
    x = l.Permute((2, 1))(x)
    x = l.Dense(16, activation="tanh")(x)
    x = l.LayerNormalization()(x)
    return Model(i, l.Dense(11, activation="softmax")(x)), (2, 32, 80, 1)


def keras_audio():
    from keras import Model, layers as l

    x = i = l.Input((400, 2))
    x = l.Conv1D(12, 9, strides=2, padding="same")(x)
    x = l.PReLU(shared_axes=[1])(l.BatchNormalization()(x))
    for d in (1, 2, 4):
        y = l.Conv1D(12, 3, padding="causal", dilation_rate=d)(x)
        y = l.Multiply()([l.Activation("tanh")(y), l.Activation("sigmoid")(y)])
        x = l.Add()([x, l.Conv1D(12, 1)(y)])
    x = l.DepthwiseConv1D(5, padding="same")(x)
    x = l.AveragePooling1D(3, padding="same")(x)
    x = l.ZeroPadding1D((1, 2))(x)
    x = l.SeparableConv1D(10, 3, activation="softplus")(x)
    a, m = l.GlobalAveragePooling1D()(x), l.GlobalMaxPooling1D()(x)
    return Model(i, l.Dense(5)(l.Concatenate()([a, m]))), (2, 400, 2)


def keras_video():
    from keras import Model, layers as l

    x = i = l.Input((8, 24, 24, 3))
    x = l.Conv3D(8, 3, padding="same", activation="relu")(x)
    x = l.MaxPooling3D((1, 2, 2))(x)
    x = l.BatchNormalization()(l.Conv3D(12, (3, 3, 3), strides=2, padding="same")(x))
    x = l.UpSampling3D()(l.Activation("hard_sigmoid")(x))
    x = l.Cropping3D(((1, 1), (0, 2), (1, 0)))(x)
    x = l.Conv3DTranspose(4, 3, strides=(1, 2, 2))(x)
    x = l.AveragePooling3D(2)(x)
    x = l.TimeDistributed(l.Conv2D(6, 3, activation="selu"))(x)
    return Model(i, l.Dense(4)(l.GlobalAveragePooling3D()(x))), (1, 8, 24, 24, 3)


def keras_gan():
    from keras import Model, layers as l

    x = i = l.Input((20,))
    x = l.Reshape((4, 4, 16))(l.Dense(256, use_bias=False)(x))
    for c in (12, 8):
        x = l.Conv2DTranspose(c, 5, strides=2, padding="same", use_bias=False)(x)
        x = l.LeakyReLU(negative_slope=0.2)(l.BatchNormalization()(x))
    return Model(i, l.Conv2DTranspose(3, 4, strides=2, padding="same", activation="tanh")(x)), (2, 20)


def keras_misc():
    from keras import Model, layers as l, ops as o

    x = i = l.Input((20, 24, 3))
    x = l.Rescaling(1 / 127.5, offset=-1)(x)
    x = l.Conv2D(12, (3, 5), strides=(2, 1), dilation_rate=1, padding="same", groups=3)(x)
    m, v = o.moments(x, axes=[1, 2], keepdims=True)
    x = (x - m) * o.rsqrt(v + 1e-3)
    g = l.GlobalAveragePooling2D(keepdims=True)(x)
    g = l.Dense(12, activation="sigmoid")(l.Dense(4, activation="relu")(g))
    x = l.Multiply()([x, g])
    s = o.concatenate([o.mean(x, axis=-1, keepdims=True), o.max(x, axis=-1, keepdims=True)], axis=-1)
    x = x * l.Conv2D(1, 7, padding="same", activation="sigmoid", use_bias=False)(s)
    x = l.UnitNormalization()(x)
    x = l.Cropping2D(((1, 0), (2, 3)))(l.ZeroPadding2D(2)(x))
    a, b = o.split(x, 2, axis=-1)
    x = l.Maximum()([a, b]) - l.Average()([a, b])
    x = l.Conv2D(8, 3, strides=2, padding="valid", activation="hard_swish" if hasattr(o, "hard_swish") else "relu")(x)
    x = o.image.resize(x, (9, 7), interpolation="nearest")
    y = o.image.resize(x, (5, 11), interpolation="bilinear")
    z = l.AveragePooling2D(3, strides=2, padding="same")(x)
    w = l.ReLU(max_value=6, negative_slope=0.1, threshold=0.2)(l.Softmax(axis=-1)(z) * 10.0)
    return Model(i, [y, z, w, o.argmax(x, axis=-1), l.Flatten()(z)]), (1, 20, 24, 3)


def keras_ssd():
    from keras import Model, layers as l, ops as o

    x = i = l.Input((64, 64, 3))
    out = []
    for n, c in enumerate((8, 16, 24, 32)):
        x = l.ReLU(6.0)(l.BatchNormalization()(l.Conv2D(c, 3, strides=2, padding="same")(x)))
        if n >= 2:
            k = l.Reshape((-1, 5))(l.Conv2D(20, 3, padding="same")(x))
            b = l.Reshape((-1, 4))(l.Conv2D(16, 3, padding="same")(x))
            out.append((l.Activation("softmax")(k), b))
    k = l.Concatenate(axis=1)([a for a, _ in out])
    b = l.Concatenate(axis=1)([b for _, b in out])
    n = b.shape[1]
    priors = np.random.default_rng(0).uniform(0.1, 0.9, (1, n, 4)).astype(np.float32)
    xy = b[:, :, :2] * 0.1 * priors[..., 2:] + priors[..., :2]
    wh = o.exp(b[:, :, 2:] * 0.2) * priors[..., 2:]
    return Model(i, [k, o.concatenate([xy - wh / 2, xy + wh / 2], axis=-1)]), (1, 64, 64, 3)


def keras_shaken(model):
    rng = np.random.default_rng(1)
    for v in model.weights:
        x = v.numpy()
        name = v.path.rsplit("/", 1)[-1]
        if "variance" in name or name == "gamma":
            v.assign(rng.uniform(0.6, 1.4, x.shape))
        elif x.ndim <= 1 and x.dtype == np.float32:
            v.assign(rng.uniform(-0.2, 0.2, x.shape))


def export_keras(folder, wanted, style):
    import tensorflow as tf

    for name, make in keras_models().items():
        if wanted and name not in wanted:
            continue
        tf.keras.utils.set_random_seed(3)
        made = make()
        model, shape = made if isinstance(made, tuple) else (made, (1, *made.input_shape[1:]))
        keras_shaken(model)
        path = folder / f"{style}_{name}.onnx"

        def save():
            if style == "keras":
                model(np.zeros((1, *shape[1:]), np.float32))
                model.export(str(path), format="onnx", verbose=False)
            else:
                import tf2onnx

                spec = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="input_1")]
                tf2onnx.convert.from_function(tf.function(lambda x: model(x, training=False)), spec, opset=13, output_path=str(path))

        yield name, path, [shape], save


# --- paddle -------------------------------------------------------------------------------------------------------------------------


def paddle_models():
    from paddle.vision import models as m

    small = (1, 3, 64, 64)
    return {
        "mobilenetv1": (functools.partial(m.mobilenet_v1, scale=0.5), small),
        "mobilenetv2": (m.mobilenet_v2, small),
        "mobilenetv3": (m.mobilenet_v3_small, small),
        "resnet18": (m.resnet18, small),
        "resnext50": (m.resnext50_32x4d, small),
        "shufflenet": (m.shufflenet_v2_x0_5, small),
        "shufflenets": (m.shufflenet_v2_swish, small),
        "squeezenet": (m.squeezenet1_1, small),
        "googlenet": (m.googlenet, small),
        "densenet121": (m.densenet121, small),
        "inceptionv3": (m.inception_v3, (1, 3, 96, 96)),
        "lenet": (m.LeNet, (2, 1, 28, 28)),
        "pdb": (paddle_db, (1, 3, 64, 96)),
        "pyolo": (paddle_yolo, small),
        "pmisc": (paddle_misc, (1, 3, 20, 28)),
        "pseg": (paddle_seg, (1, 3, 48, 64)),
    }


def paddle_db():
    import paddle
    from paddle import nn
    import paddle.nn.functional as F

    class DB(nn.Layer):
        "a text detector's neck and head"

        def __init__(self):
            super().__init__()
            cb = lambda i, o, st: nn.Sequential(nn.Conv2D(i, o, 3, st, 1, bias_attr=False), nn.BatchNorm2D(o), nn.Hardswish())
            self.st = nn.LayerList([cb(3, 8, 4), cb(8, 16, 2), cb(16, 24, 2)])
            self.ins = nn.LayerList([nn.Conv2D(c, 12, 1, bias_attr=False) for c in (8, 16, 24)])
            self.p = nn.LayerList([nn.Conv2D(12, 4, 3, padding=1, bias_attr=False) for _ in range(3)])
            self.h = nn.Sequential(
                nn.Conv2D(12, 4, 3, padding=1), nn.BatchNorm(4, act="relu"), nn.Conv2DTranspose(4, 4, 2, 2), nn.BatchNorm(4, act="relu"), nn.Conv2DTranspose(4, 1, 2, 2)
            )

        def forward(self, x):
            f = []
            for b in self.st:
                x = b(x)
                f.append(x)
            f = [i(x) for i, x in zip(self.ins, f)]
            f[1] = f[1] + F.interpolate(f[2], size=f[1].shape[2:], mode="nearest")
            f[0] = f[0] + F.interpolate(f[1], size=f[0].shape[2:], mode="nearest")
            q = [p(x) for p, x in zip(self.p, f)]
            q = [F.interpolate(p, size=q[0].shape[2:], mode="nearest") for p in q]
            return F.sigmoid(self.h(paddle.concat(q[::-1], axis=1)))

    return DB()


def paddle_yolo():
    import paddle
    from paddle import nn
    import paddle.nn.functional as F

    class Y(nn.Layer):
        def __init__(self):
            super().__init__()
            cb = lambda i, o, st: nn.Sequential(nn.Conv2D(i, o, 3, st, 1, bias_attr=False), nn.BatchNorm2D(o), nn.LeakyReLU(0.1))
            self.a, self.b, self.c = cb(3, 8, 4), cb(8, 16, 2), cb(16, 24, 2)
            self.o = nn.LayerList([nn.Conv2D(24, 21, 1), nn.Conv2D(40, 21, 1)])
            self.proj = nn.Conv2D(4, 1, 1, bias_attr=False)

        def forward(self, x):
            b = self.b(self.a(x))
            c = self.c(b)
            u = paddle.concat([F.interpolate(c, size=b.shape[2:], mode="nearest"), b], axis=1)
            boxes, scores = [], []
            for y, o in ((c, self.o[0]), (u, self.o[1])):
                n, _, h, w = y.shape
                y = o(y).reshape([-1, 3, 7, h, w]).transpose([0, 1, 3, 4, 2])
                gx = paddle.arange(w, dtype="float32").reshape([1, 1, 1, w, 1])
                gy = paddle.arange(h, dtype="float32").reshape([1, 1, h, 1, 1])
                cx = (F.sigmoid(y[:, :, :, :, 0:1]) * 1.05 - 0.025 + gx) / w
                cy = (F.sigmoid(y[:, :, :, :, 1:2]) + gy) / h
                wh = paddle.exp(paddle.clip(y[:, :, :, :, 2:4], -4, 4)) * 0.3
                boxes.append(paddle.concat([cx, cy, wh], axis=-1).reshape([-1, 3 * h * w, 4]))
                scores.append((F.sigmoid(y[:, :, :, :, 4:5]) * F.sigmoid(y[:, :, :, :, 5:])).reshape([-1, 3 * h * w, 2]))
            return paddle.concat(boxes, axis=1), paddle.concat(scores, axis=1).transpose([0, 2, 1])

    return Y()


def paddle_misc():
    import paddle
    from paddle import nn
    import paddle.nn.functional as F

    class M(nn.Layer):
        def __init__(self):
            super().__init__()
            self.a = nn.Conv2D(3, 16, 3, padding="SAME", stride=2)
            self.g = nn.GroupNorm(4, 16)
            self.i = nn.InstanceNorm2D(16)
            self.p = nn.PReLU(16)
            self.ps = nn.PixelShuffle(2)
            self.t = nn.Conv2DTranspose(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2)
            self.f = nn.Linear(6, 5)
            self.ln = nn.LayerNorm(5)

        def forward(self, x):
            y = self.p(self.i(self.g(self.a(x))))
            y = paddle.concat([m for m in paddle.split(y, 4, axis=1)][::-1], axis=1)
            y = self.t(self.ps(y))
            z = F.adaptive_avg_pool2d(y, [2, 3])
            q = F.avg_pool2d(F.pad(y, [1, 2, 0, 1], mode="reflect"), 3, 2, ceil_mode=True, exclusive=False)
            r = F.max_pool2d(F.pad(y, [1, 1, 1, 1], value=0.5), 3, 2, ceil_mode=True)
            v = self.ln(self.f(y.mean([2, 3])))
            u = F.interpolate(y, size=[9, 13], mode="bilinear", align_corners=False, align_mode=1)
            w = F.interpolate(y, size=[50, 31], mode="bilinear", align_corners=True)
            k = F.interpolate(y, size=[30, 56], mode="bicubic", align_corners=False)
            sel = paddle.where(y > 0, y, y * 0.2)
            return z, q, r, F.softmax(v), u, w, k, F.mish(sel), F.gelu(z), F.swish(q), paddle.argmax(r, axis=1), F.normalize(v, axis=1), F.unfold(z, 2)

    return M()


def paddle_seg():
    import paddle
    from paddle import nn
    import paddle.nn.functional as F

    class S(nn.Layer):
        def __init__(self):
            super().__init__()
            cb = lambda i, o, k=3, st=1, d=1: nn.Sequential(nn.Conv2D(i, o, k, st, d * (k // 2), dilation=d, bias_attr=False), nn.BatchNorm2D(o), nn.ReLU())
            self.a, self.b = cb(3, 8, 3, 2), cb(8, 16, 3, 2)
            self.pp = nn.LayerList([cb(16, 4, 1) for _ in range(3)])
            self.d = cb(16, 4, 3, 1, 2)
            self.o = nn.Conv2D(32, 5, 1)

        def forward(self, x):
            y = self.b(self.a(x))
            hw = paddle.shape(y)[2:]
            f = [y, self.d(y)]
            for k, p in zip((1, 2, 3), self.pp):
                f.append(F.interpolate(p(F.adaptive_avg_pool2d(y, k)), hw, mode="bilinear", align_corners=False))
            return F.interpolate(self.o(paddle.concat(f, 1)), paddle.shape(x)[2:], mode="bilinear", align_corners=True)

    return S()


def export_paddle(folder, wanted):
    import paddle

    for name, (make, shape) in paddle_models().items():
        if wanted and name not in wanted:
            continue
        # The exporter cannot read factors of `interpolate`, which are given as sizes, and aborts on a few others (`googlenet`).
        for free in (False, True):
            paddle.seed(3)
            model = make()
            model.eval()
            rng = np.random.default_rng(1)
            for key, v in model.state_dict().items():
                if key.endswith(("_variance", "_mean", ".bias")):
                    v.set_value(rng.uniform(*((0.6, 1.4) if key.endswith("variance") else (-0.2, 0.2)), v.shape).astype(np.float32))
            path = folder / f"paddle{'n' if free else ''}_{name}.onnx"

            def save():
                spec = [-1, *shape[1:]] if free else list(shape)
                if free and name in ("pseg", "pdb", "mobilenetv2"):
                    spec = [-1, shape[1], -1, -1]
                paddle.onnx.export(model, str(path)[:-5], input_spec=[paddle.static.InputSpec(spec, "float32", "x")], opset_version=11 if free else 16)

            yield name, path, [shape], save


# --- torch --------------------------------------------------------------------------------------------------------------------------


def torch_families(family):
    if family == "vision":
        from torchvision import models as m

        one = (1, 3, 64, 64)
        plain = dict.fromkeys(
            "alexnet densenet121 efficientnet_b0 efficientnet_v2_s mnasnet0_5 mobilenet_v2 mobilenet_v3_small regnet_y_400mf regnet_x_400mf "
            "resnet18 resnext50_32x4d shufflenet_v2_x0_5 squeezenet1_1 vgg11_bn convnext_tiny swin_t maxvit_t".split(),
            one,
        )
        plain |= {"googlenet": (1, 3, 96, 96), "inception_v3": (1, 3, 96, 96), "maxvit_t": (1, 3, 224, 224)}
        out = {n: (functools.partial(m.get_model, n, weights=None), [s]) for n, s in plain.items()}
        seg = m.segmentation
        for n in ("deeplabv3_mobilenet_v3_large", "lraspp_mobilenet_v3_large", "fcn_resnet50"):
            out[n] = (functools.partial(getattr(seg, n), weights=None, weights_backbone=None), [one])
        out["r3d_18"] = (functools.partial(m.video.r3d_18, weights=None), [(1, 3, 4, 32, 32)])
        out["r2plus1d_18"] = (functools.partial(m.video.r2plus1d_18, weights=None), [(1, 3, 4, 32, 32)])
        out["raft"] = (functools.partial(m.optical_flow.raft_small, weights=None), [(1, 3, 128, 128)] * 2)
        return out
    if family == "timm":
        import timm

        names = (
            "mobilenetv3_small_050 mobilenetv4_conv_small ghostnet_050 ghostnetv2_100 hrnet_w18_small res2net50_26w_4s resnest14d "
            "skresnet18 seresnet18 ecaresnet50t cspdarknet53 darknet53 dla34 dpn68 repvgg_a0 nfnet_f0 regnety_002 tf_efficientnet_lite0 "
            "tf_mixnet_s tf_efficientnet_b0 lcnet_050 levit_128s mobilevit_xxs mobilevitv2_050 fastvit_t8 repvit_m0_9 mobileone_s0 "
            "convnextv2_atto convmixer_768_32 poolformer_s12 edgenext_xx_small efficientformer_l1 starnet_s1 "
            "inception_resnet_v2 xception41 vovnet39a selecsls42 rexnet_100 hardcorenas_a gernet_s coatnet_pico_rw_224 efficientvit_b0 "
            "gcresnet33ts lambda_resnet26t halonet26t botnet26t_256 bat_resnext26ts deit_tiny_patch16_224 mixer_s32_224 volo_d1_224 focalnet_tiny_srf"
        ).split()
        known = [n for n in names if timm.is_model(n)]

        def size(n):
            vit = ("levit", "mobilevit", "deit", "mixer", "volo", "coatnet", "efficientformer", "botnet", "halonet", "lambda", "bat_", "edgenext")
            return 256 if n.startswith(("mobilevit", "halonet", "lambda", "botnet", "bat_")) else 224 if n.startswith(vit) else 96

        return {n: (functools.partial(timm.create_model, n, pretrained=False), [(1, 3, size(n), size(n))]) for n in known}
    import onnx_nets

    return onnx_nets.NETS


def export_torch(folder, wanted, family):
    import logging

    import torch

    logging.disable(logging.WARNING)
    for name, (make, shapes) in torch_families(family).items():
        if wanted and name not in wanted:
            continue
        torch.manual_seed(3)
        model = make().eval()
        with torch.no_grad():
            for key, v in [*model.named_parameters(), *model.named_buffers()]:
                if key.endswith("running_var"):
                    v.uniform_(0.6, 1.4)
                elif key.endswith(("running_mean", ".bias")):
                    v.uniform_(-0.2, 0.2)
                elif v.ndim == 4 and v.dtype == torch.float32 and v[0].numel() > 0:
                    v.normal_(0, (1.6 / v[0].numel()) ** 0.5)
        xs = tuple(torch.rand(s) for s in shapes)
        names = [f"x{i}" for i in range(len(xs))]
        for style in ("ts", "dyn"):
            path = folder / f"{family}_{style}_{name}.onnx"

            def save():
                more = dict(dynamo=False, opset_version=17 if len(name) % 2 else 12) if style == "ts" else dict(dynamo=True, external_data=False)
                try:
                    torch.onnx.export(model, xs, str(path), input_names=names, **more)
                except Exception:
                    if style == "dyn":
                        raise
                    torch.onnx.export(model, xs, str(path), input_names=names, dynamo=False, opset_version=20)

            yield name, path, shapes, save


# --- both sides ---------------------------------------------------------------------------------------------------------------------


def export(family, folder, wanted):
    folder.mkdir(parents=True, exist_ok=True)
    models = {
        "keras": functools.partial(export_keras, style="keras"),
        "tf": functools.partial(export_keras, style="tf"),
        "paddle": export_paddle,
    }.get(family) or functools.partial(export_torch, family=family)
    for name, path, shapes, save in models(folder, wanted):
        if path.exists():
            continue
        began = time.time()
        quiet, kept = os.open(os.devnull, os.O_WRONLY), [os.dup(1), os.dup(2)]
        os.dup2(quiet, 1), os.dup2(quiet, 2)
        try:
            save()
            said = None
        except Exception as error:
            path.unlink(missing_ok=True)
            said = f"{type(error).__name__}: {error}"
        finally:
            os.dup2(kept[0], 1), os.dup2(kept[1], 2)
            for f in (quiet, *kept):
                os.close(f)
        if said is None:
            path.with_suffix(".shape").write_text("\n".join(",".join(map(str, s)) for s in shapes))
        print(path.name, f"{time.time() - began:.0f} s", "" if said is None else "NOT EXPORTED " + " ".join(said.split())[:200], flush=True)


FIXTURES = ["segformer", "resized2", "stn", "stn_reflect2", "cbam", "involution", "focus"]


def fixtures():
    import io

    import onnx
    import torch
    from onnx_models import given, seeded
    from onnx_nets import NETS
    from onnx_zoo import prep

    # One that Keras exports: `KERAS=DIR` after `export keras DIR kaudio`.
    if "KERAS" in os.environ:
        given("kaudio", onnx.load(pathlib.Path(os.environ["KERAS"]) / "keras_kaudio.onnx"), (2, 400, 2))
        return
    for name in FIXTURES:
        make, [shape] = NETS[name]
        torch.manual_seed(3)
        path = pathlib.Path("/tmp/cnnc_real.onnx")
        dynamo = dict(dynamo=True, external_data=False) if name in ("segformer", "involution") else dict(dynamo=False, opset_version=20)
        torch.onnx.export(prep(make()), (torch.from_numpy(seeded("input", shape)),), str(path), input_names=["x0"], **dynamo)
        model = onnx.load(path)
        for node in model.graph.node:
            del node.metadata_props[:]
            node.doc_string = ""
        del model.graph.value_info[:]
        given(name, model, shape)


# Standardised weights and fourteen blocks that amplify what was rounded: by float64 PyTorch is off by 4e-5 of the largest, ONNX Runtime by
# 7e-5, cnnc by 1.4e-4 (1.2e-4 with --exact).
NOISY = {"nfnet_f0": 2e-4}


def differs(got, want, noise, part=2e-5):
    if got.shape != want.shape:
        return f"extents {got.shape} where ONNX Runtime has {want.shape}"
    got, want = got.astype(np.float64), want.astype(np.float64)
    if not np.isfinite(want).all():
        return None if np.array_equal(np.isfinite(got), np.isfinite(want)) else "not finite elsewhere"
    off = np.abs(got - want) - 1e-3 * np.abs(want) - max(part * np.abs(want).max(initial=0), 4 * noise)
    if off.size and off.max() > 0:
        return f"{(off > 0).mean():.2%} of the elements off, by {np.abs(got - want).max():.3g} where the largest is {np.abs(want).max():.3g}"
    return None


def hold(folder, cnnc, wanted):
    import onnx
    import onnxruntime as ort

    count = wrong = flat = 0

    def call(*args):
        began = time.time()
        done = subprocess.run([cnnc, *map(str, args)], capture_output=True, text=True, timeout=1200)
        return done.returncode, (done.stderr + done.stdout).strip(), time.time() - began

    for path in sorted(folder.glob("*.onnx")):
        name = path.stem
        if wanted and not any(re.search(w, name) for w in wanted):
            continue
        shapes = [tuple(map(int, l.split(","))) for l in path.with_suffix(".shape").read_text().split("\n")]
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        try:
            s = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
            ports = [i.name for i in s.get_inputs()]
            rng = np.random.default_rng(5)
            xs = {p: rng.uniform(-1, 1, shape).astype(np.float32) for p, shape in zip(ports, shapes)}
            want = s.run(None, xs)
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
            again = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, xs)
            noise = [np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64)).max(initial=0) for a, b in zip(want, again)]
        except Exception as error:
            print("not run by ONNX Runtime:", name, str(error)[:150], flush=True)
            continue
        count += 1
        names = [o.name for o in s.get_outputs()]
        given, bound = [], []
        for p, x in xs.items():
            np.save(folder / f"{name}.{len(given)}.in.npy", x)
            given += ["-i", f"{p}={folder}/{name}.{len(given)}.in.npy"]
            bound += ["--shape", f"{p}={'x'.join(map(str, x.shape))}"]

        def run(what, net, outs, given, *more):
            files = [folder / f"{name}.{i}.out.npy" for i in range(len(outs))]
            to = [a for n, f in zip(outs, files) for a in ("-o", f"{n}={f}" if len(outs) > 1 else f)]
            code, said, took = call("run", net, *more, *given, *to)
            if code:
                print("WRONG", what, name, said[:600], flush=True)
                return False, took
            good = True
            for n, f, w, e in zip(outs, files, want, noise):
                off = differs(np.load(f), np.asarray(w), e, max([2e-5, *(p for n, p in NOISY.items() if n in name)]))
                if off:
                    print("WRONG", what, name, n, off, flush=True)
                    good = False
                f.unlink()
            return good, took

        code, said, took = call("check", path, *bound)
        if code:
            print("WRONG check", name, said[:600], flush=True)
            wrong += 1
            continue
        fine, ran = run("run", path, names, given, *bound)
        program, weights = folder / f"{name}.cnn", folder / f"{name}.safetensors"
        code, said, wrote = call("import", path, *bound, "-o", program, "-w", weights)
        if code:
            flat += 1
            reasons = [l for l in said.split("\n") if l.strip()]
            print("no program:", name, (reasons or ["?"])[0][:220], flush=True)
        elif fine:
            listed = call("check", program)[1]
            many = re.search(r"-> \((.*)\)", listed)
            outs = re.findall(r"(\w+): \[", many.group(1)) if many else ["out"]
            ins = re.findall(r"(\w+): \[", re.search(r"net \S+\((.*?)\)", listed).group(1)) if re.search(r"net \S+\((.*?)\)", listed) else ports
            files = [g.split("=", 1)[1] for g in given[1::2]]
            again = [a for n, f in zip(ins, files) for a in ("-i", f"{n}={f}" if len(files) > 1 else f)]
            fine = run("program", program, outs, again, "-w", weights, "--batch", shapes[0][0])[0]
        wrong += not fine
        print("ok" if fine else "--", name, f"check {took:.1f} run {ran:.1f} import {wrote:.1f} s, {len(onnx.load(path).graph.node)} nodes", flush=True)
        for f in folder.glob(f"{name}.*"):
            if f.suffix in (".npy", ".safetensors"):
                f.unlink()
    print(f"{count} models, {wrong} wrong, {flat} that are no program")
    return wrong


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    if sys.argv[1] == "fixtures":
        fixtures()
    elif sys.argv[1] == "export":
        export(sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4:])
    else:
        sys.exit(1 if hold(pathlib.Path(sys.argv[2]), sys.argv[3], sys.argv[4:]) else 0)
