"""What a command did with a record folder, as a table."""

from typing import Any


def print_summary(output_dir: str, manifest: dict[str, Any]) -> None:
    """Say in a table what a record folder holds, what was rejected and mended, and that no row was lost."""
    rows = manifest["rows"]
    tables = {title.removeprefix("by_"): counts for title, counts in manifest["counts"].items()}
    tables |= {"filtered": manifest["filtered"], "rejects": manifest["reject_reasons"]}
    tables["repairs"] = manifest.get("repairs", {})
    for title, counts in tables.items():
        if counts:
            print(title.replace("_", " "))
        for name, count in counts.items():
            print(f"  {name:<40}{count:>10,}")
    print(
        f"{rows['in']:,} rows in = {rows['records']:,} records + {rows['filtered']:,} filtered "
        f"+ {rows['rejects']:,} rejects -> {output_dir}"
    )
