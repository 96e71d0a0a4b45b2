"""Score files as they come into a folder, each row once, by a stream of Spark that goes on where it ended.

spark-submit examples/spark_streaming.py models:/wine@champion incoming scored checkpoint

Needs the extras mlflow and spark, and Java 17. The stream takes all that is there and ends (availableNow), as
suits a schedule: started again, it takes what is new by what Spark noted in the checkpoint. An alias is
looked up at each start, so that the next one has the new champion.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

import trackbridge as tb


def main(
    model: str = "models:/wine@champion",
    source: str = "incoming",
    target: str = "scored",
    checkpoint: str = "checkpoint",
) -> None:
    spark = SparkSession.builder.appName("spark_streaming").getOrCreate()
    score = tb.spark_udf(spark, model)
    rows = spark.readStream.schema(spark.read.json(source).schema).json(source)
    columns = score.metadata.get_input_schema().input_names()  # those that the model's signature names
    scored = rows.withColumn("prediction", score(*columns))
    query = scored.writeStream.format("json").option("path", target).option("checkpointLocation", checkpoint)
    stream = query.trigger(availableNow=True).start()
    stream.awaitTermination()
    print(f"{sum(batch['numInputRows'] for batch in stream.recentProgress)} new rows scored")


if __name__ == "__main__":
    main(*sys.argv[1:])
