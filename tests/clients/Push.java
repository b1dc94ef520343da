import io.prometheus.metrics.core.metrics.Counter;
import io.prometheus.metrics.core.metrics.Gauge;
import io.prometheus.metrics.core.metrics.Histogram;
import io.prometheus.metrics.core.metrics.Summary;
import io.prometheus.metrics.exporter.pushgateway.PushGateway;
import io.prometheus.metrics.model.registry.PrometheusRegistry;
import io.prometheus.metrics.model.snapshots.Labels;
import java.net.URI;
import java.util.Map;

/**
 * Pushes with the Prometheus client library for Java: Push ACTION URL...
 *
 * <p>The same registry goes to each URL, so that two gateways can be compared. The library pushes protobuf and gives
 * each exemplar a timestamp.
 */
public class Push {
  public static void main(String[] args) throws Exception {
    String action = args[0];
    PrometheusRegistry registry = new PrometheusRegistry();
    if (action.equals("push")) {
      Counter requests =
          Counter.builder()
              .name("requests_total")
              .help("Requests, with a \\ and\na second line.")
              .labelNames("method")
              .register(registry);
      requests.labelValues("get").incWithExemplar(3.5, Labels.of("trace_id", "java-counter"));
      requests.labelValues("po\"st\n\\").inc(1e308);
      Gauge odd = odd(registry);
      Map.of(
              "tenth", 0.1,
              "third", 1.0 / 3,
              "smallest", 5e-324,
              "infinite", Double.NEGATIVE_INFINITY,
              "none", Double.NaN,
              "big", (double) ((1L << 53) - 1))
          .forEach((what, value) -> odd.labelValues(what).set(value));
      Gauge.builder().name("stays").help("Not in the second push.").register(registry).set(42);
      Histogram sizes =
          Histogram.builder()
              .name("sizes")
              .help("Sizes.")
              .classicOnly()
              .classicUpperBounds(0.5, 1, 2.5)
              .register(registry);
      for (double size : new double[] {0.2, 0.7, 2}) {
        sizes.observe(size);
      }
      sizes.observeWithExemplar(99.25, Labels.of("trace_id", "java-histogram"));
      Summary took =
          Summary.builder()
              .name("took_seconds")
              .help("Durations.")
              .quantile(0.5)
              .quantile(0.9)
              .register(registry);
      took.observe(0.125);
      took.observe(7);
    } else if (action.equals("pushadd")) {
      odd(registry).labelValues("new").set(-1.25);
    }
    for (int index = 1; index < args.length; index++) {
      PushGateway gateway =
          PushGateway.builder()
              .address(URI.create(args[index]).getAuthority())
              .job("java")
              .groupingKey("path", "/var/backup")
              .groupingKey("zone", "ünï")
              .registry(registry)
              .build();
      switch (action) {
        case "push" -> gateway.push();
        case "pushadd" -> gateway.pushAdd();
        case "delete" -> gateway.delete();
        default -> throw new IllegalArgumentException("no such action: " + action);
      }
    }
  }

  private static Gauge odd(PrometheusRegistry registry) {
    return Gauge.builder()
        .name("odd")
        .help("Numbers that are easily lost.")
        .labelNames("what")
        .register(registry);
  }
}
