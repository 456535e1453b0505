/** What a member tells its driver: lines on standard output. */
final class Told {
    private Told() {
    }

    /** One line: what was done about an error, and the error with its causes. */
    static void error(String what, Throwable error) {
        StringBuilder line = new StringBuilder(what).append(": ");
        for (Throwable cause = error; cause != null; cause = cause.getCause()) {
            line.append(cause == error ? "" : " <- ").append(cause.getClass().getSimpleName());
            if (cause.getMessage() != null) {
                line.append(" (").append(cause.getMessage().lines().findFirst().orElse("")).append(')');
            }
        }
        System.out.println(line);
    }
}
