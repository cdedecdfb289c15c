"""Data-Juicer's operators as of py-data-juicer 1.6.1: which are refused here, why, and what to use instead.

A recipe is brought from there, so each of its names is known here. What is built is what the registry holds, whatever
this page says; the names without a reason are built here or will be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

RELEASE = "py-data-juicer 1.6.1"


@dataclass(frozen=True)
class Known:
    """One operator of Data-Juicer's.

    does: what it does, in a few words. reason: why it is refused here; empty: it is not. instead: what to use. weights:
    whose weights it needs by default; empty: none, or they come with a package that this one depends on.
    """

    does: str
    reason: str = ""
    instead: str = ""
    weights: str = ""


NOT_BUILT = "it is not built yet"
_AFTERWARDS = "dj-process over the exported dataset, which Data-Juicer reads as it is"
_SOUND = "sound is not decoded here"
_SOUND_FILES = "it reads the sound files of the field audios, and only videos are opened here"
_IS_LOCAL = "only local files are read and written"
_GEOMETRY = "it finds arrays of geometry, for which neither stats nor exports have a place here"
_FROM_REFUSED = "it works on what other refused mappers write"
_HANDS = "the hand model MANO is given only to those who register for its licence"
_REMOTE_CODE = "its model runs code from a hub's repository (trust_remote_code)"
_NO_CODE = "a recipe should not be able to run code"
_OWN_PACKAGE = "an operator of your own, in an installed package (CONTRIBUTING, Your first operator)"
_HAS_SOUND = "video_audio_presence_filter tells videos with sound from silent ones; for more, " + _AFTERWARDS
_CAPTION = "video_captioning_from_vlm_mapper"

KNOWN: Mapping[str, Known] = {
    # filters
    "video_aesthetics_filter": Known(
        "how pleasing frames look",
        weights="CLIP with an aesthetics head: shunk031/aesthetics-predictor-v2-sac-logos-ava1-l14-linearMSE",
    ),
    "video_aspect_ratio_filter": Known("width by height"),
    "video_duration_filter": Known("length"),
    "video_face_ratio_filter": Known("share of frames with a face"),
    "video_frames_text_similarity_filter": Known(
        "how well frames and caption agree", weights="CLIP: openai/clip-vit-base-patch32"
    ),
    "video_motion_score_filter": Known("optical flow by Farnebäck"),
    "video_motion_score_ptlflow_filter": Known(
        "optical flow by a network of ptlflow",
        reason="ptlflow fetches its checkpoints itself, and no revision of them can be pinned",
        instead="video_motion_score_raft_filter, another network's flow, or video_motion_score_filter",
    ),
    "video_motion_score_raft_filter": Known("optical flow by RAFT", weights="torchvision's raft_large"),
    "video_nsfw_filter": Known(
        "how likely frames are not safe for work", weights="a ViT: Falconsai/nsfw_image_detection"
    ),
    "video_ocr_area_ratio_filter": Known("share of the picture that text covers"),
    "video_resolution_filter": Known("width and height"),
    "video_tagging_from_frames_filter": Known("which tags frames have"),
    "video_watermark_filter": Known(
        "how likely frames bear a watermark", weights="a ViT: amrul-hzz/watermark_detector"
    ),
    "specified_field_filter": Known("a field's value is one of a list"),
    "specified_numeric_field_filter": Known("a field's number lies in a range"),
    "general_field_filter": Known("an expression over fields holds"),
    "suffix_filter": Known("file endings"),
    "text_length_filter": Known("characters of the text"),
    "words_num_filter": Known("words of the text"),
    "alphanumeric_filter": Known("share of letters and digits in the text"),
    "audio_duration_filter": Known("length of sound files", _SOUND_FILES, _HAS_SOUND),
    "audio_nmf_snr_filter": Known("noise of sound files", _SOUND_FILES, _HAS_SOUND),
    "audio_size_filter": Known("size of sound files", _SOUND_FILES, _HAS_SOUND),
    # deduplicators
    "video_deduplicator": Known("equal video packets"),
    "ray_video_deduplicator": Known(
        "equal video packets, on Ray",
        reason="nothing runs on Ray here, and there it is chance which copy stays",
        instead="video_deduplicator: it looks across all shards, also those that arrive later",
    ),
    # mappers that make other media
    "video_split_by_duration_mapper": Known("pieces of a length"),
    "video_split_by_key_frame_mapper": Known("pieces from key frame to key frame"),
    "video_split_by_scene_mapper": Known("scenes"),
    "video_resize_resolution_mapper": Known("another width and height"),
    "video_resize_aspect_ratio_mapper": Known("another aspect ratio"),
    "video_ffmpeg_wrapped_mapper": Known("a video filter of FFmpeg"),
    "video_extract_frames_mapper": Known("frames as pictures"),
    "video_face_blur_mapper": Known("blurred faces"),
    "video_remove_watermark_mapper": Known("painted-over watermarks"),
    "video_undistort_mapper": Known(
        "pictures straightened by a camera's parameters",
        reason="it needs camera parameters that only refused mappers write",
        instead="video_ffmpeg_wrapped_mapper with the filter lenscorrection, where the distortion is known",
    ),
    "audio_add_gaussian_noise_mapper": Known("noise in sound files", _SOUND_FILES, _AFTERWARDS),
    "audio_ffmpeg_wrapped_mapper": Known("a sound filter of FFmpeg", _SOUND_FILES, _AFTERWARDS),
    # captions and tags
    "video_captioning_from_vlm_mapper": Known(
        "a caption by a vision-language model", weights="a vision-language model: Qwen/Qwen3-VL-8B-Instruct"
    ),
    "video_captioning_from_frames_mapper": Known("a caption of frames", weights="BLIP-2: Salesforce/blip2-opt-2.7b"),
    "video_captioning_from_video_mapper": Known(
        "a caption by Video-BLIP",
        reason="Video-BLIP is no model of transformers; its network exists as code of Data-Juicer's alone",
        instead=f"{_CAPTION} or video_captioning_from_frames_mapper",
    ),
    "video_captioning_from_audio_mapper": Known(
        "a caption of the sound", f"{_SOUND}, and Qwen-Audio runs code from its hub's repository", _AFTERWARDS
    ),
    "video_captioning_from_summarizer_mapper": Known(
        "a summary of captions and tags",
        reason="it sums up five other mappers, of which four are refused here: Video-BLIP, RAM++ and two on sound",
        instead=_CAPTION,
    ),
    "video_captioning_from_human_tracks_mapper": Known("a caption of a person", _REMOTE_CODE, _CAPTION),
    "video_captioning_face_attribute_emotion_mapper": Known("a caption of a face", _REMOTE_CODE, _CAPTION),
    "video_tagging_from_frames_mapper": Known(
        "tags by RAM++",
        reason="RAM++ is no model of transformers and no package of a registry",
        instead=f"{_CAPTION} for words about a video; specified_field_filter for tags that the manifest has",
    ),
    "video_tagging_from_audio_mapper": Known("what kind of sound it is", _SOUND, _HAS_SOUND),
    # speech and people
    "video_audio_ASR_mapper": Known("speech as text", _SOUND, _AFTERWARDS),
    "video_audio_detect_age_gender_mapper": Known("age and gender by voice", _SOUND, _AFTERWARDS),
    "video_audio_speech_emotion_mapper": Known("emotion by voice", _SOUND, _AFTERWARDS),
    "video_active_speaker_detect_mapper": Known("who speaks", f"{_SOUND}, and {_FROM_REFUSED}", _AFTERWARDS),
    "video_human_tracks_extraction_mapper": Known(
        "where people and faces are",
        reason="its detectors (S3FD, YOLOv8) are no packages but repositories that are cloned and changed at run time",
        instead="video_face_ratio_filter to keep videos with faces; for tracks, " + _AFTERWARDS,
    ),
    "video_human_tracks_face_demographic_mapper": Known("age and gender of faces", _FROM_REFUSED, _AFTERWARDS),
    # geometry, hands, robots
    "vggt_mapper": Known(
        "cameras, depth and points by VGGT",
        f"VGGT is cloned from its repository at run time, and {_GEOMETRY}",
        _AFTERWARDS,
    ),
    "video_camera_calibration_deepcalib_mapper": Known("camera parameters by DeepCalib", _GEOMETRY, _AFTERWARDS),
    "video_camera_calibration_droidcalib_mapper": Known(
        "camera parameters by DroidCalib", f"DroidCalib is cloned at run time, and {_GEOMETRY}", _AFTERWARDS
    ),
    "video_camera_calibration_moge_mapper": Known("camera parameters and depth by MoGe", _GEOMETRY, _AFTERWARDS),
    "video_camera_pose_megasam_mapper": Known(
        "camera poses by MegaSaM", f"MegaSaM is cloned and compiled at run time, and {_GEOMETRY}", _AFTERWARDS
    ),
    "video_depth_estimation_mapper": Known("depth and point clouds", _GEOMETRY, _AFTERWARDS),
    "video_object_segmenting_mapper": Known(
        "masks of named objects",
        reason="YOLOE comes with ultralytics alone, whose AGPL licence would reach whoever ships this package",
        instead=_AFTERWARDS,
    ),
    "video_whole_body_pose_estimation_mapper": Known("keypoints of people by DWPose", _GEOMETRY, _AFTERWARDS),
    "video_hand_reconstruction_mapper": Known("hands by WiLoR", _HANDS, _AFTERWARDS),
    "video_hand_reconstruction_hawor_mapper": Known("hands by HaWoR", _HANDS, _AFTERWARDS),
    "video_hand_action_compute_mapper": Known("motion of hands", _FROM_REFUSED, _AFTERWARDS),
    "video_hand_motion_smooth_mapper": Known("smoother motion of hands", _FROM_REFUSED, _AFTERWARDS),
    "video_atomic_action_segment_mapper": Known("actions of hands", _FROM_REFUSED, _AFTERWARDS),
    "video_clip_reassembly_mapper": Known("hands and cameras of clips that overlap", _FROM_REFUSED, _AFTERWARDS),
    "video_trajectory_overlay_mapper": Known("frames with paths of hands", _FROM_REFUSED, _AFTERWARDS),
    "export_to_lerobot_mapper": Known("a dataset for robots", _FROM_REFUSED, _AFTERWARDS),
    # files and code
    "download_file_mapper": Known(
        "files fetched from URLs", _IS_LOCAL, "fetch the files before the run, and list their paths"
    ),
    "s3_download_file_mapper": Known("files fetched from S3", _IS_LOCAL, "`aws s3 sync` before the run"),
    "s3_upload_file_mapper": Known("files sent to S3", _IS_LOCAL, "`aws s3 sync` after the run"),
    "python_file_mapper": Known("a function of a file", _NO_CODE, _OWN_PACKAGE),
    "python_lambda_mapper": Known("a lambda", _NO_CODE, _OWN_PACKAGE),
    # selectors
    "random_selector": Known("some, by lot"),
    "topk_specified_field_selector": Known("those with the highest value"),
    "range_specified_field_selector": Known("those between two ranks"),
    "frequency_specified_field_selector": Known("those with the most frequent values"),
    "tags_specified_field_selector": Known(
        "those with one of some tags",
        reason="it looks at one sample at a time, as a filter does",
        instead="specified_field_filter: field_key for field_key, target_value for target_tags",
    ),
}
"""Every operator that is of use on samples with videos."""


@dataclass(frozen=True)
class Group:
    """Operators of Data-Juicer's that have nothing to do with videos, refused for one reason."""

    about: str
    reason: str
    instead: str
    names: tuple[str, ...]


OTHERS: tuple[Group, ...] = (
    Group(
        "texts",
        "it judges or rewrites texts, and here videos are processed, with a few filters for their captions",
        "text_length_filter, words_num_filter, alphanumeric_filter or general_field_filter for captions; for more, "
        + _AFTERWARDS,
        (
            *("average_line_length_filter", "character_repetition_filter", "flagged_words_filter"),
            *("language_id_score_filter", "maximum_line_length_filter", "perplexity_filter"),
            *("special_characters_filter", "stopwords_filter", "text_action_filter", "text_embd_similarity_filter"),
            *("text_entity_dependency_filter", "text_pair_similarity_filter", "token_num_filter"),
            *("word_repetition_filter", "chinese_convert_mapper", "clean_copyright_mapper", "clean_email_mapper"),
            *("clean_html_mapper", "clean_ip_mapper", "clean_links_mapper", "expand_macro_mapper"),
            *("extract_tables_from_html_mapper", "fix_unicode_mapper", "latex_figure_context_extractor_mapper"),
            *("latex_merge_tex_mapper", "nlpaug_en_mapper", "nlpcda_zh_mapper", "pii_redaction_mapper"),
            *("punctuation_normalization_mapper", "remove_bibliography_mapper", "remove_comments_mapper"),
            *("remove_header_mapper", "remove_long_words_mapper", "remove_non_chinese_character_mapper"),
            *("remove_repeat_sentences_mapper", "remove_specific_chars_mapper", "remove_table_text_mapper"),
            *("remove_words_with_incorrect_substrings_mapper", "replace_content_mapper", "sentence_split_mapper"),
            *("text_chunk_mapper", "whitespace_normalization_mapper"),
        ),
    ),
    Group(
        "equal texts",
        "it compares documents, and here videos are compared",
        "video_deduplicator, with consider_text: true to compare captions as well",
        (
            *("document_deduplicator", "document_line_deduplicator", "document_minhash_deduplicator"),
            *("document_simhash_deduplicator", "ray_bts_minhash_cpp_deduplicator", "ray_bts_minhash_deduplicator"),
            "ray_document_deduplicator",
        ),
    ),
    Group(
        "language models, dialogues and agents",
        "it asks a language model about a text, or reads dialogues and traces of agents",
        _AFTERWARDS,
        (
            *("in_context_influence_filter", "instruction_following_difficulty_filter", "llm_analysis_filter"),
            *("llm_condition_filter", "llm_difficulty_score_filter", "llm_perplexity_filter"),
            *("llm_quality_score_filter", "llm_task_relevance_filter", "agent_bad_case_signal_mapper"),
            *("agent_dialog_normalize_mapper", "agent_insight_llm_mapper", "agent_skill_insight_mapper"),
            *("agent_tool_relevance_mapper", "agent_tool_type_mapper", "agent_trace_coherence_mapper"),
            *("calibrate_qa_mapper", "calibrate_query_mapper", "calibrate_response_mapper"),
            *("dialog_clarification_quality_mapper", "dialog_coreference_mapper", "dialog_error_recovery_mapper"),
            *("dialog_intent_detection_mapper", "dialog_memory_consistency_mapper", "dialog_non_repetition_mapper"),
            *("dialog_proactivity_mapper", "dialog_sentiment_detection_mapper", "dialog_sentiment_intensity_mapper"),
            *("dialog_topic_detection_mapper", "dialog_topic_shift_mapper", "extract_entity_attribute_mapper"),
            *("extract_entity_relation_mapper", "extract_event_mapper", "extract_keyword_mapper"),
            *("extract_nickname_mapper", "extract_support_text_mapper", "generate_qa_from_examples_mapper"),
            *("generate_qa_from_text_mapper", "human_preference_annotation_mapper", "llm_extract_mapper"),
            *("optimize_prompt_mapper", "optimize_qa_mapper", "optimize_query_mapper", "optimize_response_mapper"),
            *("pair_preference_mapper", "pii_llm_suspect_mapper", "query_intent_detection_mapper"),
            *("query_sentiment_detection_mapper", "query_topic_detection_mapper", "relation_identity_mapper"),
            *("sentence_augmentation_mapper", "text_tagging_by_prompt_mapper", "tool_success_tagger_mapper"),
            "usage_counter_mapper",
        ),
    ),
    Group(
        "pictures",
        "it looks at the pictures of the field images, and only videos are opened here",
        "the filter of that kind for videos, where there is one; else " + _AFTERWARDS,
        (
            *("image_aesthetics_filter", "image_aspect_ratio_filter", "image_face_count_filter"),
            *("image_face_ratio_filter", "image_nsfw_filter", "image_pair_similarity_filter", "image_shape_filter"),
            *("image_size_filter", "image_subplot_filter", "image_text_matching_filter"),
            *("image_text_similarity_filter", "image_watermark_filter", "phrase_grounding_recall_filter"),
            *("detect_character_attributes_mapper", "detect_character_locations_mapper"),
            *("detect_main_character_mapper", "image_blur_mapper", "image_captioning_mapper"),
            *("image_detection_yolo_mapper", "image_diffusion_mapper", "image_face_blur_mapper"),
            *("image_mmpose_mapper", "image_remove_background_mapper", "image_sam_3d_body_mapper"),
            *("image_segment_mapper", "image_tagging_mapper", "image_tagging_vlm_mapper"),
            *("imgdiff_difference_area_generator_mapper", "imgdiff_difference_caption_generator_mapper"),
            *("mllm_mapper", "sdxl_prompt2prompt_mapper", "image_deduplicator", "ray_image_deduplicator"),
            "image_ohem_selector",
        ),
    ),
    Group(
        "groups of samples",
        "it joins several samples into one, and every sample keeps a row of its own here",
        "`dj-assets sql` sums up over samples; for groups in the dataset, " + _AFTERWARDS,
        (
            *("key_value_grouper", "naive_grouper", "naive_reverse_grouper"),
            *("entity_attribute_aggregator", "meta_tags_aggregator", "most_relevant_entities_aggregator"),
            "nested_aggregator",
        ),
    ),
    Group(
        "Ray",
        "nothing runs on Ray here",
        "leave it out: shards and worker processes share the work by themselves (docs/operations.md)",
        ("llm_ray_vllm_engine_pipeline", "ray_repartition_pipeline", "vlm_ray_vllm_engine_pipeline"),
    ),
)
"""All the rest, so that a recipe that names one is told why it is refused."""


@cache
def others() -> Mapping[str, Known]:
    """The operators of `OTHERS` by name."""
    return {name: Known(group.about, group.reason, group.instead) for group in OTHERS for name in group.names}


def find(name: str) -> Known | None:
    """What is known of that name; None where Data-Juicer has no such operator."""
    return KNOWN.get(name) or others().get(name)


def kind(name: str) -> str:
    """`filter`, `mapper`, `deduplicator`, `selector` …: upstream's names end with it."""
    return name.rpartition("_")[2]


@cache
def options() -> Mapping[str, Mapping[str, Any]]:
    """Operator -> option -> default, of upstream's constructors, for the operators without a reason."""
    path = Path(__file__).with_name("_upstream_options.json")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def default(name: str, option: str) -> Any:
    """Of an option of upstream's; None where it is null, or not known."""
    return options().get(name, {}).get(option)
