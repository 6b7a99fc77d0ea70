"""The commented spec.toml that `medge export --print-spec` writes."""

COMMENTED_SPEC = """\
# What a bundle must know and the network cannot say. Lines without # are needed; the others show
# the default, or an example where it says so. Unknown keys are refused.

name = "my-classifier"              # a-z 0-9 . _ -
version = "1.0.0"
# task = "single-label"             # single-label, multi-label, multi-task (several outputs);
#                                   # default: that of the only output
intended_use = "State who may use the answers, on which pictures, and for what."
licence = "State the licence of these weights."
# demonstration = false             # true: every result says "not for clinical use"
# limits = ["Example: not tested on children."]
# golden_tolerance = 0.001          # largest difference of a raw output on any device at fp32;
#                                   # default: 1/1000 of the largest golden output

[input]                             # one picture, as the network takes it
name = "image"                      # its name in the exported graph
height = 224
width = 224
channels = 3                        # 1 or 3
colour = "gray"                     # gray (three equal channels if channels = 3) or rgb
mean = [0.485, 0.456, 0.406]        # one a channel, on display values 0..1: (x - mean) / std
std = [0.229, 0.224, 0.225]
# layout = "NCHW"                   # or NHWC
# dtype = "float32"                 # or uint8: display value x 255; then mean = [] and std = []
# min_side = 8                      # smaller pictures are refused
# max_constant_ratio = 1.0          # pictures with a larger part of one single value are refused
# accepts = ["MONOCHROME1", "MONOCHROME2", "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422",
#            "YBR_ICT", "YBR_RCT"]

# [input.voi]                       # how stored values become display values 0..1
# rule = "file"                     # file, required, full, minmax, percentile, window
# index = 0                         # which of the file's windows
# center = 40.0                     # example; with rule = "window"
# width = 400.0                     # example; with rule = "window"
# low = 0.5                         # example; with rule = "percentile"
# high = 99.5                       # example; with rule = "percentile"

# [input.crop]
# rule = "none"                     # none, region (ultrasound region of the file), center
# ratio = 1.0                       # with rule = "center": the part of each side that is kept

# [input.resize]
# filter = "bilinear"               # bilinear (antialiased, as torchvision) or area
# fit = "stretch"                   # stretch, letterbox, cover
# pad = 0.0                         # with fit = "letterbox": display value around the picture
# rounding = "none"                 # uint8: round to 1/255, for networks trained on 8-bit files

# [input.enhance]                   # gray pictures only, at the network's resolution
# median = 0                        # 0, 3 or 5
# equalize = "none"                 # none, histogram, clahe
# clahe_clip = 2.0
# clahe_tiles = 8

[[outputs]]                         # repeat for a network with several outputs, in its order
name = "scores"                     # its name in the exported graph
classes = ["class-0", "class-1"]    # or leave out and use --classes FILE
activation = "softmax"              # what is still to be applied: softmax, sigmoid or none
# task = "single-label"             # or multi-label
# temperature = 1.0                 # logits are divided by it
# thresholds = [{ label = "class-1", value = 0.3 }]   # example: class-1 wins from 0.3 on
# abstain_below = 0.0               # single-label: no answer if the winner is less probable

# [scope]                           # a file that contradicts is refused; [] places no limit
# modality = []                     # example: ["US"]
# body_part = []                    # example: ["BREAST"]
# view = []
# pixel_spacing_mm = [0.05, 0.5]    # example: smallest and largest

# [[data]]                          # example: what the weights were trained on
# name = "BreastMNIST"
# licence = "CC BY 4.0"
# citation = "Yang et al., MedMNIST v2, Scientific Data 10:41, 2023"
# url = "https://medmnist.com"

# [[metrics]]                       # example: how good it is, with the 95 % interval
# name = "AUC"
# value = 0.90
# low = 0.86
# high = 0.94
# method = "5-fold over 624 pictures, DeLong"

# [arguments]                       # example: keyword arguments for the function that builds the
# dropout = 0.2                     # network; channels and number of classes are added by medge
"""
