"""Results as tables of other tools."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as parquet

from promptscope.probes import ProbeResult


def result():
    numbers = {"v1": np.arange(12.0).reshape(2, 2, 3), "v2": np.ones((2, 2, 3))}
    return ProbeResult.from_examples(numbers, name="demo", units="nats", direction="higher = more", provenance={"a": 1})


def test_csv_and_parquet_hold_the_table(tmp_path):
    mine = result()
    mine.to_csv(tmp_path / "t" / "demo.csv")
    mine.to_parquet(tmp_path / "u" / "demo.parquet")
    for table in (pd.read_csv(tmp_path / "t" / "demo.csv"), pd.read_parquet(tmp_path / "u" / "demo.parquet")):
        pd.testing.assert_frame_equal(table, mine.to_dataframe(), check_dtype=False)
    about = json.loads(parquet.read_schema(tmp_path / "u" / "demo.parquet").metadata[b"promptscope"])
    assert about["units"] == "nats" and json.loads(about["provenance"]) == {"a": 1}


def test_xarray_is_a_copy_that_says_what_it_is():
    mine = result()
    data = mine.to_xarray()
    data["values"][:] = 0
    assert data.attrs["direction"] == "higher = more" and float(mine.values.sum()) > 0
