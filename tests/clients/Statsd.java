// Sends with java-dogstatsd-client: `Statsd.java PORT SOCKET`, by UDP and unix datagrams.

import com.timgroup.statsd.NonBlockingStatsDClientBuilder;
import com.timgroup.statsd.StatsDClient;

class Statsd {
    public static void main(String[] arguments) throws Exception {
        send("udp", new NonBlockingStatsDClientBuilder().hostname("127.0.0.1").port(Integer.parseInt(arguments[0])));
        send("unix", new NonBlockingStatsDClientBuilder().address("unix://" + arguments[1]));
        System.out.println("sent");
    }

    static void send(String by, NonBlockingStatsDClientBuilder builder) throws Exception {
        try (StatsDClient client = builder.constantTags("by:" + by).enableTelemetry(false)
                .enableAggregation(false).errorHandler(error -> error.printStackTrace()).blocking(true).build()) {
            client.count("java.hits", 3);
            client.count("java.hits", 4);
            client.gauge("java.level", 2.5);
            client.recordExecutionTime("java.wait", 250);
            client.recordDistributionValue("java.size", 3);
            client.recordSetValue("java.users", "ann");
        }
    }
}
