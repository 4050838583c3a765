package example;

import com.google.protobuf.Message;

/** A way to a gateway. Asks again while there is no answer: the ids in the requests make that safe. */
interface Transport extends AutoCloseable {
    /**
     * Ask one thing.
     *
     * @param operation authorize, answer, tick or end
     * @param empty an empty answer, for its type
     */
    <A extends Message> A ask(String operation, Message request, A empty) throws Exception;

    @Override
    void close();
}
