// Track a run from Java with nothing but its standard library, through `bridge gateway`.
//
//   bridge gateway --backend azureml: &
//   java examples/gateway/LogRun.java http://127.0.0.1:5000      (JDK 11 or newer)
//
// MLFLOW_TRACKING_TOKEN is the token, if the gateway demands one (`bridge gateway tokens add`).

import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.Locale;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

public class LogRun {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private final String server;

    LogRun(String server) {
        this.server = server;
    }

    public static void main(String[] arguments) throws IOException, InterruptedException {
        LogRun gateway = new LogRun(arguments.length > 0 ? arguments[0] : "http://127.0.0.1:5000");
        String experiment = gateway.experiment("java");
        long now = System.currentTimeMillis();
        String run = gateway.call("runs/create",
            json("{'experiment_id': '%s', 'run_name': 'java', 'start_time': %d}", experiment, now));
        String id = field(run, "run_id");

        String points = IntStream.range(0, 5)  // one request for all of them
            .mapToObj(step -> json("{'key': 'loss', 'value': %s, 'step': %d, 'timestamp': %d}",
                1.0 / (step + 1), step, now + step))
            .collect(Collectors.joining(", "));
        gateway.call("runs/log-batch", json("{'run_id': '%s', 'params': [{'key': 'rate', 'value': '0.1'}], "
            + "'tags': [{'key': 'language', 'value': 'java'}], 'metrics': [%s]}", id, points));

        // A file goes to the gateway as well: mlflow-artifacts:/… is …/mlflow-artifacts/artifacts/… there.
        String folder = field(run, "artifact_uri").replace("mlflow-artifacts:/", "");
        gateway.send("PUT", "mlflow-artifacts/artifacts/" + folder + "/notes.txt", "logged by java\n");
        gateway.call("runs/update", json("{'run_id': '%s', 'status': 'FINISHED', 'end_time': %d}",
            id, System.currentTimeMillis()));
        System.out.println(id);
    }

    private String experiment(String name) throws IOException, InterruptedException {
        String found = send("GET", "mlflow/experiments/search?max_results=1&filter=name%3D%27" + name + "%27", "");
        return field(found.contains("experiment_id") ? found
            : call("experiments/create", json("{'name': '%s'}", name)), "experiment_id");
    }

    private String call(String path, String body) throws IOException, InterruptedException {
        return send("POST", "mlflow/" + path, body);
    }

    private String send(String method, String path, String body) throws IOException, InterruptedException {
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(server + "/api/2.0/" + path))
            .header("Content-Type", "application/json")
            .method(method, BodyPublishers.ofString(body));
        String token = System.getenv("MLFLOW_TRACKING_TOKEN");
        if (token != null) {
            request.header("Authorization", "Bearer " + token);
        }
        HttpResponse<String> answer = CLIENT.send(request.build(), BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IOException(path + ": " + answer.statusCode() + " " + answer.body());
        }
        return answer.body();
    }

    /** Fill in values that need no escapes, and turn ' into "; with other texts, use a library for JSON. */
    private static String json(String form, Object... values) {
        return String.format(Locale.ROOT, form, values).replace('\'', '"');
    }

    private static String field(String json, String name) {
        Matcher found = Pattern.compile("\"" + name + "\": ?\"([^\"]*)\"").matcher(json);
        if (!found.find()) {
            throw new IllegalArgumentException("no " + name + " in " + json);
        }
        return found.group(1);
    }
}
