from pathlib import Path


def is_peft_folder(folder: Path) -> bool:
    return (folder / "adapter_config.json").is_file()


def read_peft(folder): ...
def write_peft(prompt, folder, model): ...
