package example;

/** What the gateway said instead of an answer: a stable reason, and the field if one is wrong. */
final class Fault extends Exception {
    final String code;
    final String reason;
    final String field;

    Fault(String code, String reason, String field) {
        super(code + " " + reason);
        this.code = code;
        this.reason = reason;
        this.field = field;
    }
}
