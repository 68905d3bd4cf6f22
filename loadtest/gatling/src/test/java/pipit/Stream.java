package pipit;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What one person saw of one conversation: finds what was lost, came twice or came out of order. Pipit's seq has no
 * gaps, and each sender numbers its own messages, one at a time, so both have to go up in steps of one.
 */
final class Stream {
    private record Entry(String sender, long number) {}

    private final Map<Long, Entry> later = new TreeMap<>();
    private final Map<String, Long> numbers = new HashMap<>();
    private final long start;
    private long completeTo;
    private long last;

    /** Every message with a seq greater than {@code start} is owed. */
    Stream(long start) {
        this.start = start;
        this.completeTo = start;
    }

    /** Takes a delivered message; returns what was wrong with it, mostly nothing. */
    List<String> delivered(long seq, String sender, long number) {
        List<String> problems = new ArrayList<>();
        if (seq <= start) {
            return problems; // was on its way when this began
        }
        if (seq <= completeTo || later.containsKey(seq)) {
            problems.add("duplicate: seq " + seq + " came twice");
        } else if (seq < last) {
            problems.add("out of order: seq " + seq + " after " + last);
        }
        last = Math.max(last, seq);
        if (seq > completeTo) {
            later.put(seq, new Entry(sender, number));
        }
        while (later.containsKey(completeTo + 1)) {
            completeTo++;
            step(later.remove(completeTo), problems);
        }
        return problems;
    }

    /** How many messages up to {@code head} have not come. */
    long missing(long head) {
        return Math.max(0, head - completeTo - later.keySet().stream().filter(seq -> seq <= head).count());
    }

    private void step(Entry entry, List<String> problems) {
        Long before = numbers.put(entry.sender(), entry.number());
        if (before != null && entry.number() != before + 1) {
            problems.add("number " + entry.number() + " of " + entry.sender() + " has the seq after number " + before);
        }
    }
}
