import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs many of Kafka's tools in one virtual machine, which would otherwise be started for each: every line of the input is
 * a main class and its arguments, with single spaces between. What they print goes out with the number of the line before.
 */
public final class Tools {
    private Tools() {
    }

    /** Instead of the end of the process. */
    private static final class Ended extends RuntimeException {
        private static final long serialVersionUID = 1;
        private final int status;

        Ended(int status) {
            this.status = status;
        }
    }

    public static void main(String[] arguments) throws IOException {
        Exit.setExitProcedure((status, message) -> {
            throw new Ended(status);
        });
        PrintStream output = System.out;
        var commands = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        int number = 0;
        for (String command = commands.readLine(); command != null; command = commands.readLine()) {
            number++;
            output.printf("%03d $ %s%n", number, command);
            for (String line : printed(command.split(" ")).lines().toList()) {
                output.printf("%03d %s%n", number, line);
            }
        }
    }

    private static String printed(String[] command) {
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        PrintStream stream = new PrintStream(printed, true, StandardCharsets.UTF_8);
        System.setOut(stream);
        System.setErr(stream);
        try {
            String[] arguments = Arrays.copyOfRange(command, 1, command.length);
            Class.forName(command[0]).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (ReflectiveOperationException error) {
            if (!(error.getCause() instanceof Ended ended)) {
                error.printStackTrace();
            } else if (ended.status != 0) {
                stream.println("ended with " + ended.status);
            }
        }
        return printed.toString(StandardCharsets.UTF_8);
    }
}
