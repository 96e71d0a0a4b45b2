"""Score a table with a registered model of any backend, by all machines of a Spark cluster.

spark-submit examples/spark_batch.py models:/wine@champion wines.parquet kinds

Needs the extras mlflow and spark, and Java 17; python instead of spark-submit uses the cores of this machine.
BRIDGE_TRACKING_URI says where the model is registered. Only this program reads it there: Spark brings its
files to the executors.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

import trackbridge as tb


def main(model: str = "models:/wine@champion", source: str = "wines.parquet", target: str = "kinds") -> None:
    spark = SparkSession.builder.appName("spark_batch").getOrCreate()
    score = tb.spark_udf(spark, model)
    rows = spark.read.parquet(source)
    columns = score.metadata.get_input_schema().input_names()  # those that the model's signature names
    scored = rows.withColumn("prediction", score(*columns))
    scored.write.mode("overwrite").parquet(target)
    for answer in spark.read.parquet(target).groupBy("prediction").count().orderBy("prediction").collect():
        print(f"{answer['prediction']}: {answer['count']} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
