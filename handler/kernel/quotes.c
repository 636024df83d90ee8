/* Records of CSV in which every quote is in place: it opens a cell at its start, closes it at its end, or is one of two
   that stand for one. */

enum { COMMA = 1, LINE_END = 2 }; /* what stands between two quotes */

static int is_end(uint8_t byte, uint8_t delimiter) { return byte == delimiter || byte == '\n' || byte == '\r'; }

/* The highest bit of each of 8 bytes that are `byte`, and perhaps of others after the first one. */
static uint64_t bytes_that_are(uint64_t bytes, uint8_t byte) {
    const uint64_t ones = 0x0101010101010101u;
    bytes ^= ones * byte;
    return (bytes - ones) & ~bytes & (ones << 7);
}

/* Returns the first quote before `stop`, or `stop`; adds to `holds` what stands before it. */
static const uint8_t *quote_at(const uint8_t *at, const uint8_t *stop, int *holds) {
    for (; __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && at + 8 <= stop; at += 8) {
        uint64_t bytes;
        __builtin_memcpy(&bytes, at, 8);
        uint64_t quotes = bytes_that_are(bytes, '"'), before = (quotes & -quotes) - 1; /* all, where there is none */
        *holds |= (bytes_that_are(bytes, ',') & before) ? COMMA : 0;
        *holds |= (bytes_that_are(bytes, '\n') & before) ? LINE_END : 0;
        if (quotes)
            return at + __builtin_ctzll(quotes) / 8;
    }
    for (; at < stop && *at != '"'; at++)
        *holds |= *at == ',' ? COMMA : *at == '\n' ? LINE_END : 0;
    return at;
}

/* Returns the quote that closes a cell which begins at `at`, or `stop`; adds to `holds` as `quote_at` does, and a comma
   for each quote. */
static const uint8_t *close_of(const uint8_t *at, const uint8_t *stop, int *holds) {
    for (;; at += 2, *holds |= COMMA) {
        at = quote_at(at, stop, holds);
        if (stop - at < 2 || at[1] != '"')
            return at;
    }
}

/* Returns the offset after the last line end between two others that ends a record, 0 where none does, and -1 where a
   quote is out of place. A record starts at `start`. */
int64_t last_end(const uint8_t *data, int64_t start, int64_t stop, uint8_t delimiter) {
    const uint8_t *at = data + start, *last = data + stop, *end = data;
    for (;;) {
        int holds = 0;
        const uint8_t *quote = quote_at(at, last, &holds);
        if (holds & LINE_END)
            for (end = quote; end[-1] != '\n'; end--)
                ;
        if (quote == last)
            break;
        if (quote > data + start && !is_end(quote[-1], delimiter))
            return -1;
        at = close_of(quote + 1, last, &holds);
        if (last - at < 2)
            break;
        if (!is_end(*++at, delimiter))
            return -1;
    }
    return end - data;
}

/* As `copied`, where `stop` ends what may be read; most cells are short. */
static uint8_t *moved(uint8_t *to, const uint8_t *from, const uint8_t *until, const uint8_t *stop) {
    if (until - from > CHUNK || stop - from < CHUNK)
        return copied(to, from, until);
    __builtin_memcpy(to, from, CHUNK);
    return to + (until - from);
}

/* Copies cells without quotes, with commas between them, and with quotes around those that hold one. */
static uint8_t *recoded(uint8_t *to, const uint8_t *at, const uint8_t *stop, uint8_t delimiter) {
    while (at < stop) {
        const uint8_t *first = at;
        int has_comma = 0;
        for (; at < stop && *at != delimiter && *at != '\n'; at++)
            has_comma |= *at == ',';
        if (has_comma)
            *to++ = '"';
        to = copied(to, first, at);
        if (has_comma)
            *to++ = '"';
        if (at < stop)
            *to++ = *at++ == '\n' ? '\n' : ',';
    }
    return to;
}

/* Copies the records in `data`, each of which ends with LF and holds no CR, with commas between cells, and with quotes
   around those alone that hold a comma, a quote or a line end. Returns the number of bytes, and -1 where a quote is out
   of place, a record would be a blank line, or a cell holds a line end and `as_lines` is set. There is room in `plain`
   for as many bytes as in `data`, and for twice as many where `delimiter` is not a comma. */
int64_t unquote(const uint8_t *data, int64_t size, uint8_t delimiter, int64_t as_lines, uint8_t *plain) {
    const uint8_t *at = data, *stop = data + size;
    uint8_t *to = plain;
    for (;;) {
        int holds = 0;
        const uint8_t *quote = quote_at(at, stop, &holds);
        if (delimiter == ',') {
            to = moved(to, at, quote, stop);
        } else if (holds & COMMA) {
            to = recoded(to, at, quote, delimiter);
        } else {
            for (; at < quote; at++)
                *to++ = *at == delimiter ? ',' : *at;
        }
        if (quote == stop)
            return to - plain;
        int is_first = quote == data || quote[-1] == '\n';
        if (!is_first && quote[-1] != delimiter)
            return -1;
        holds = 0;
        at = close_of(quote + 1, stop, &holds);
        if (at == stop || (holds & LINE_END && as_lines) || (at[1] != delimiter && at[1] != '\n'))
            return -1;
        if (is_first && at == quote + 1 && at[1] == '\n')
            return -1;
        int is_needed = holds != 0;
        to = moved(to, quote + !is_needed, at + is_needed, stop);
        at++;
    }
}
