/* Numbers from text, and doubles as text. */

enum {
    LEAST = -292, /* the first of `powers`, and the last: what writes any double */
    MOST = 324,
    MOST_READ = 288,  /* any 64 bits times 10 to a power from LEAST to this are a double of full precision */
    MOST_DIGITS = 19, /* that surely fit into 64 bits */
    EXACT_POWER = 22, /* 10 to this power is a double, and to the next it is not */
    EXACT_BITS = 55,  /* 10 to this power is of 128 bits and a power of 2, and to the next it is not */
};

/* 10 to a power, of which `high` and `low` are the first 128 bits, the highest one set: times 2 to `exponent`, that is
   at most the power, and with one more in the last bit it is above. */
struct power {
    uint64_t high, low;
    int64_t exponent;
};

static const uint64_t TENS[] = {1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000};

static int is_digit(uint8_t byte) { return (uint8_t)(byte - '0') < 10; }

/* The double nearest to `digits` times a power; 0 if 128 bits do not tell which one that is. */
static int nearest(uint64_t digits, const struct power *power, double *number) {
    int shift = __builtin_clzll(digits);
    digits <<= shift;
    unsigned __int128 high = (unsigned __int128)digits * power->high, low = (unsigned __int128)digits * power->low;
    unsigned __int128 product = high + (uint64_t)(low >> 64); /* the true one is less than 2 above */
    int dropped = 73 + (int)(product >> 127);                 /* its bits below the first 54 */
    unsigned __int128 mask = ((unsigned __int128)1 << dropped) - 1, rest = product & mask;
    uint64_t first = (uint64_t)(product >> dropped);
    if (rest == (first & 1 ? 0 : mask))
        return 0; /* the true one may be the middle between two doubles, or above */
    uint64_t mantissa = (first >> 1) + (first & 1); /* 53 bits, or one more, which is carried into the exponent */
    int64_t exponent = dropped + 1 + 64 - shift + power->exponent;
    uint64_t bits = ((uint64_t)(exponent + 52 + 1022) << 52) + mantissa;
    __builtin_memcpy(number, &bits, sizeof bits);
    return 1;
}

/* Adds the digits at `at` to a number, and returns the byte after them, which is no digit. Up to `safe` there are 8 bytes
   to load, and so many digits are read at once. */
static const uint8_t *digits_at(const uint8_t *at, const uint8_t *safe, uint64_t *number) {
    while (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && at <= safe) {
        uint64_t bytes;
        __builtin_memcpy(&bytes, at, 8);
        bytes ^= 0x3030303030303030u; /* 0 to 9 where a digit is */
        uint64_t others = (bytes | (bytes + 0x7676767676767676u)) & 0x8080808080808080u;
        int count = others ? __builtin_ctzll(others) / 8 : 8;
        if (count == 0)
            return at;
        bytes <<= 64 - 8 * count; /* zeros before the digits */
        bytes = (bytes * 10 + (bytes >> 8)) & 0x00FF00FF00FF00FFu;
        bytes = (bytes * 100 + (bytes >> 16)) & 0x0000FFFF0000FFFFu;
        *number = *number * TENS[count] + (uint32_t)(bytes * 10000 + (bytes >> 32));
        at += count;
        if (count < 8)
            return at;
    }
    for (; is_digit(*at); at++)
        *number = 10 * *number + (*at - '0');
    return at;
}

/* Reads the number that a text starts with, which a byte ends that is in none: returns that byte, or 0 where no number
   is there, or one of which the nearest double is not certain. `decimal`: what stands before its
   fraction. */
static const uint8_t *number_at(const uint8_t *at, const uint8_t *safe, uint8_t decimal, const struct power *powers,
                                double *number) {
    static const double tens[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                  1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    int is_negative = *at == '-';
    at += is_negative || *at == '+';
    const uint8_t *first = at;
    uint64_t digits = 0;
    int64_t exponent = 0;
    at = digits_at(at, safe, &digits);
    int64_t count = at - first;
    if (*at == decimal) {
        const uint8_t *point = at++;
        at = digits_at(at, safe, &digits);
        exponent = point + 1 - at;
        count -= exponent;
    }
    if (count > MOST_DIGITS)
        for (; *first == '0' || *first == decimal; first++)
            count -= *first == '0';
    if (count == 0 || count > MOST_DIGITS)
        return 0;
    if (*at == 'e' || *at == 'E') {
        int64_t more = 0;
        int is_less = *++at == '-';
        at += is_less || *at == '+';
        if (!is_digit(*at))
            return 0;
        for (; is_digit(*at); at++)
            if (more < 1000)
                more = 10 * more + (*at - '0');
        exponent += is_less ? -more : more;
    }
    double value = 0;
    if (digits <= (uint64_t)1 << 53 && -EXACT_POWER <= exponent && exponent <= EXACT_POWER)
        value = exponent < 0 ? (double)digits / tens[-exponent] : (double)digits * tens[exponent];
    else if (digits != 0 && (exponent < LEAST || exponent > MOST_READ || !nearest(digits, powers + exponent - LEAST, &value)))
        return 0;
    *number = is_negative ? -value : value;
    return at;
}

/* The first 64 bits of a product of 192, the last one set where any bit after them is. */
static uint64_t first_bits(uint64_t high, uint64_t low, uint64_t factor) {
    unsigned __int128 product = (unsigned __int128)high * factor + (uint64_t)((unsigned __int128)low * factor >> 64);
    return (uint64_t)(product >> 64) | ((uint64_t)product > 1);
}

/* The fewest digits that read back as a double, and of these the nearest ones: returns them, and 10 to which power they
   are times. `mantissa` and `binary`: the double's. Schubfach, by R. Giulietti, "The Schubfach way to render doubles". */
static uint64_t shortest(uint64_t mantissa, int64_t binary, const struct power *powers, int64_t *decimal) {
    int is_edge = mantissa == (uint64_t)1 << 52 && binary > -1074; /* the double below is half as far as that above */
    int64_t exponent = is_edge ? (binary * 1262611 - 524031) >> 22 : (binary * 1262611) >> 22; /* log10(2) * 2^22 */
    const struct power *power = powers - exponent - LEAST;
    int is_exact = exponent <= 0 && exponent >= -EXACT_BITS;
    uint64_t low = power->low + !is_exact, high = power->high + (low < power->low);
    int64_t shift = binary + power->exponent + 128;
    uint64_t odd = mantissa & 1; /* the middles to the neighbours round to an even double */
    uint64_t lower = first_bits(high, low, (4 * mantissa - 2 + is_edge) << shift) + odd;
    uint64_t value = first_bits(high, low, 4 * mantissa << shift);
    uint64_t upper = first_bits(high, low, (4 * mantissa + 2) << shift) - odd;
    uint64_t digits = value / 4, fewer = digits / 10;
    if (fewer) {
        int is_below = lower <= 40 * fewer, is_above = 40 * fewer + 40 <= upper;
        if (is_below != is_above) {
            *decimal = exponent + 1;
            return fewer + is_above;
        }
    }
    *decimal = exponent;
    int is_below = lower <= 4 * digits, is_above = 4 * digits + 4 <= upper;
    if (is_below != is_above)
        return digits + is_above;
    uint64_t middle = 4 * digits + 2;
    return digits + (value > middle || (value == middle && digits & 1));
}

static uint8_t *put(uint8_t *to, const char *text) {
    while (*text)
        *to++ = (uint8_t)*text++;
    return to;
}

/* Writes `count` digits, the last ones of a number. */
static uint8_t *put_digits(uint8_t *to, uint64_t digits, int64_t count) {
    for (int64_t index = count - 1; index >= 0; index--, digits /= 10)
        to[index] = (uint8_t)('0' + digits % 10);
    return to + count;
}

static uint8_t *put_zeros(uint8_t *to, int64_t count) {
    while (count-- > 0)
        *to++ = '0';
    return to;
}

static int64_t count_digits(uint64_t number) {
    int64_t count = 1;
    for (; number >= 10; number /= 10)
        count++;
    return count;
}

static uint8_t *put_integer(uint8_t *to, int64_t number) {
    uint64_t digits = (uint64_t)number;
    if (number < 0) {
        *to++ = '-';
        digits = -digits;
    }
    return put_digits(to, digits, count_digits(digits));
}

/* Writes a double as polars does: from 0.00001 to below 1e16 without an exponent. */
static uint8_t *put_double(uint8_t *to, double number, const struct power *powers) {
    uint64_t bits;
    __builtin_memcpy(&bits, &number, sizeof bits);
    uint64_t mantissa = bits & (((uint64_t)1 << 52) - 1);
    int64_t binary = (int64_t)(bits >> 52 & 2047);
    if (binary == 2047 && mantissa)
        return put(to, "NaN");
    if (bits >> 63)
        *to++ = '-';
    if (binary == 2047)
        return put(to, "inf");
    if (binary == 0 && mantissa == 0)
        return put(to, "0.0");
    if (binary)
        mantissa |= (uint64_t)1 << 52;
    int64_t exponent = 0;
    uint64_t digits = shortest(mantissa, (binary ? binary : 1) - 1075, powers, &exponent);
    for (; digits % 10 == 0; digits /= 10)
        exponent++;
    int64_t count = count_digits(digits), first = count + exponent - 1; /* the power of the first digit */
    if (first < -5 || first > 15) {
        uint64_t unit = 1;
        for (int64_t left = count; left > 1; left--)
            unit *= 10;
        *to++ = (uint8_t)('0' + digits / unit);
        if (count > 1) {
            *to++ = '.';
            to = put_digits(to, digits, count - 1);
        }
        *to++ = 'e';
        if (first > 0)
            *to++ = '+';
        return put_integer(to, first);
    }
    if (first < 0)
        return put_digits(put_zeros(put(to, "0."), -first - 1), digits, count);
    if (exponent >= 0)
        return put(put_zeros(put_digits(to, digits, count), exponent), ".0");
    uint64_t unit = 1;
    for (int64_t left = exponent; left < 0; left++)
        unit *= 10;
    to = put_digits(to, digits / unit, first + 1);
    *to++ = '.';
    return put_digits(to, digits, -exponent);
}
