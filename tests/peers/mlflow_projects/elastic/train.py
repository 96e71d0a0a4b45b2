"""A regression with a penalty on the diabetes data that ships with scikit-learn."""

import sys

import mlflow
from sklearn.datasets import load_diabetes
from sklearn.linear_model import ElasticNet
from sklearn.metrics import mean_absolute_error, r2_score

alpha, l1_ratio = float(sys.argv[1]), float(sys.argv[2])
features, target = load_diabetes(return_X_y=True)
with mlflow.start_run():
    model = ElasticNet(alpha=alpha, l1_ratio=l1_ratio, random_state=42).fit(features[:300], target[:300])
    predicted = model.predict(features[300:])
    mlflow.log_params({"alpha": alpha, "l1_ratio": l1_ratio, "rows": 300})
    mlflow.log_metric("mae", mean_absolute_error(target[300:], predicted))
    mlflow.log_metric("r2", r2_score(target[300:], predicted))
    mlflow.log_text(repr(list(model.coef_)), "coefficients.txt")
