"""FFmpeg's video filters that a recipe may name, and their options.

What reads or writes files, or shows pictures at other times than the sound's, is not among them. Options are those of
FFmpeg 8, as the PyAV wheel has it.
"""

from __future__ import annotations

from collections.abc import Mapping

_OPTIONS = {
    # size and place
    "scale": (
        "w width h height flags interl size s in_color_matrix out_color_matrix in_range out_range in_chroma_loc "
        "out_chroma_loc in_primaries out_primaries in_transfer out_transfer in_v_chr_pos in_h_chr_pos "
        "out_v_chr_pos out_h_chr_pos force_original_aspect_ratio force_divisible_by reset_sar param0 param1 eval"
    ),
    "crop": "out_w w out_h h x y keep_aspect exact",
    "pad": "width w height h x y color eval aspect",
    "hflip": "",
    "vflip": "",
    "transpose": "dir passthrough",
    "rotate": "angle a out_w ow out_h oh fillcolor c bilinear",
    "shear": "shx shy fillcolor c interp",
    "lenscorrection": "cx cy k1 k2 i fc",
    "fillborders": "left right top bottom mode color",
    "swaprect": "w h x1 y1 x2 y2",
    "scroll": "horizontal h vertical v hpos vpos",
    "pixelize": "width w height h mode m planes p",
    "epx": "n",
    "xbr": "n",
    "hqx": "n",
    # which frames are shown
    "fps": "fps start_time round eof_action",
    "framestep": "step",
    # interlaced pictures
    "bwdif": "mode parity deint",
    "yadif": "mode parity deint",
    "w3fdif": "mode parity deint",
    # colour
    "hue": "h s H b",
    "huesaturation": "hue saturation intensity colors strength rw gw bw lightness",
    "exposure": "exposure black",
    "vibrance": "intensity rbal gbal bbal rlum glum blum alternate",
    "colorbalance": "rs gs bs rm gm bm rh gh bh pl",
    "colorchannelmixer": "rr rg rb ra gr gg gb ga br bg bb ba ar ag ab aa pc pa",
    "colorcontrast": "rc gm by rcw gmw byw pl",
    "colorcorrect": "rl bl rh bh saturation analyze",
    "colorize": "hue saturation lightness mix",
    "colorlevels": (
        "rimin gimin bimin aimin rimax gimax bimax aimax romin gomin bomin aomin romax gomax bomax aomax preserve"
    ),
    "colorspace": (
        "all space range primaries trc format fast dither wpadapt clipgamut iall ispace irange iprimaries itrc"
    ),
    "colortemperature": "temperature mix pl",
    "curves": "preset master m red r green g blue b all interp",
    "selectivecolor": "correction_method reds yellows greens cyans blues magentas whites neutrals blacks",
    "lutrgb": "c0 c1 c2 c3 y u v r g b a",
    "lutyuv": "c0 c1 c2 c3 y u v r g b a",
    "negate": "components negate_alpha",
    "monochrome": "cb cr size high",
    "grayworld": "",
    "greyedge": "difford minknorm sigma",
    "normalize": "blackpt whitept smoothing independence strength",
    "limiter": "min max planes",
    "tonemap": "tonemap param desat peak",
    "chromashift": "cbh cbv crh crv edge",
    "rgbashift": "rh rv gh gv bh bv ah av edge",
    "format": "pix_fmts color_spaces color_ranges alpha_modes",
    "setrange": "range",
    "setparams": "field_mode range color_primaries color_trc colorspace chroma_location alpha_mode",
    # sharpness and noise
    "gblur": "sigma steps planes sigmaV",
    "avgblur": "sizeX planes sizeY",
    "unsharp": (
        "luma_msize_x lx luma_msize_y ly luma_amount la chroma_msize_x cx chroma_msize_y cy chroma_amount ca "
        "alpha_msize_x ax alpha_msize_y ay alpha_amount aa"
    ),
    "cas": "strength planes",
    "nlmeans": "s p pc r rc",
    "atadenoise": "0a 0b 1a 1b 2a 2b s p a 0s 1s 2s",
    "bilateral": "sigmaS sigmaR planes",
    "chromanr": "thres sizew sizeh stepw steph threy threu threv distance",
    "dctdnoiz": "sigma s overlap expr e n",
    "fftdnoiz": "sigma amount block overlap method prev next planes window",
    "median": "radius planes radiusV percentile",
    "removegrain": "m0 m1 m2 m3",
    "deband": "1thr 2thr 3thr 4thr range r direction d blur b coupling c",
    "deblock": "block alpha beta gamma delta planes",
    "deflicker": "size s mode m bypass",
    "gradfun": "strength radius",
    "noise": (
        "all_seed all_strength alls all_flags allf c0_seed c0_strength c0s c0_flags c0f c1_seed c1_strength c1s "
        "c1_flags c1f c2_seed c2_strength c2s c2_flags c2f c3_seed c3_strength c3s c3_flags c3f"
    ),
    "tmix": "frames weights scale planes",
    "dilation": "coordinates threshold0 threshold1 threshold2 threshold3",
    "erosion": "coordinates threshold0 threshold1 threshold2 threshold3",
    "convolution": "0m 1m 2m 3m 0rdiv 1rdiv 2rdiv 3rdiv 0bias 1bias 2bias 3bias 0mode 1mode 2mode 3mode",
    # edges and drawing
    "edgedetect": "high low mode planes",
    "sobel": "planes scale delta",
    "prewitt": "planes scale delta",
    "roberts": "planes scale delta",
    "kirsch": "planes scale delta",
    "scharr": "planes scale delta",
    "vignette": "angle a x0 y0 mode eval dither aspect",
    "drawbox": "x y width w height h color c thickness t replace box_source",
    "drawgrid": "x y width w height h color c thickness t replace",
    "fade": "type t start_frame s nb_frames n alpha start_time st duration d color c",
    # nothing
    "null": "",
    "copy": "",
}

OPTIONS: Mapping[str, frozenset[str]] = {
    name: frozenset((*options.split(), "enable")) for name, options in _OPTIONS.items()
}
"""Filter -> the options that it takes; `enable` says when it works, for filters that can pause."""

_WHY_NOT = {
    "it reads or writes files, or runs code from elsewhere": (
        "movie amovie subtitles ass drawtext lut3d lut1d haldclut metadata signature vidstabdetect vidstabtransform "
        "libvmaf vmafmotion ssim psnr sendcmd zmq frei0r frei0r_src dnn_processing dnn_classify dnn_detect sr derain "
        "ocr openclsrc program_opencl libplacebo find_rect cover_rect coreimage quirc"
    ),
    "it shows pictures at other times, and the sound would not follow": (
        "setpts settb trim select reverse loop tpad freezeframes shuffleframes random framerate minterpolate zoompan "
        "telecine separatefields weave doubleweave interlace field decimate realtime tile untile thumbnail"
    ),
    "it takes or gives more than one video": (
        "overlay hstack vstack xstack blend concat split alphamerge alphaextract displace maskedmerge mix paletteuse "
        "palettegen streamselect guided remap scale2ref interleave"
    ),
    "the shape of pixels stays the parent's; scale or crop the pictures instead": "setsar setdar",
    "FFmpeg has it under the GPL, and the PyAV wheel is built without": (
        "boxblur colormatrix delogo eq fspp histeq hqdn3d kerndeint mpdecimate nnedi owdenoise perspective phase pp7 "
        "pullup repeatfields sab smartblur spp stereo3d super2xsai tinterlace uspp vaguedenoiser"
    ),
}

REFUSED: Mapping[str, str] = {name: why for why, names in _WHY_NOT.items() for name in names.split()}
"""Filter -> why a recipe may not name it."""
