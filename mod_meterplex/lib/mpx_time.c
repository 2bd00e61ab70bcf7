/* mpx_time.c: see mpx_time.h. Calendar arithmetic on days since 1970-01-01, proleptic Gregorian (H. Hinnant,
 * "chrono-Compatible Low-Level Date Algorithms"). */
#include "mpx_time.h"

#include <string.h>

#include <apr_strings.h>

#define US APR_INT64_C(1000000)
#define DAY_US (86400 * US)

/* 0001-01-01T00:00:00Z and the last microsecond of 9999: what four digits of a year can say */
#define FIRST (APR_INT64_C(-62135596800) * US)
#define LAST (APR_INT64_C(253402300800) * US - 1)

static apr_int64_t days_from_civil(apr_int64_t y, unsigned m, unsigned d)
{
    apr_int64_t era;
    unsigned yoe, doy, doe;
    y -= m <= 2;
    era = (y >= 0 ? y : y - 399) / 400;
    yoe = (unsigned)(y - era * 400);
    doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
    return era * 146097 + (apr_int64_t)doe - 719468;
}

static void civil_from_days(apr_int64_t z, int *y, unsigned *m, unsigned *d)
{
    apr_int64_t era;
    unsigned doe, yoe, doy, mp;
    z += 719468;
    era = (z >= 0 ? z : z - 146096) / 146097;
    doe = (unsigned)(z - era * 146097);
    yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    mp = (5 * doy + 2) / 153;
    *d = doy - (153 * mp + 2) / 5 + 1;
    *m = mp < 10 ? mp + 3 : mp - 9;
    *y = (int)((apr_int64_t)yoe + era * 400 + (*m <= 2));
}

/* n digits at text as a number, or -1 */
static int digits(const char *text, int n)
{
    int value = 0;
    while (n-- > 0) {
        if (*text < '0' || *text > '9') {
            return -1;
        }
        value = value * 10 + *text++ - '0';
    }
    return value;
}

static unsigned month_days(int y, int m)
{
    static const unsigned char days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    return m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0) ? 29 : days[m - 1];
}

/* "Z" or "+hh:mm" at text up to end: seconds east of UTC. @return 0 when it is neither */
static int read_offset(const char *text, const char *end, int *seconds)
{
    int h, m;
    if (end - text == 1 && (*text == 'Z' || *text == 'z')) {
        *seconds = 0;
        return 1;
    }
    if (end - text != 6 || (*text != '+' && *text != '-') || text[3] != ':') {
        return 0;
    }
    h = digits(text + 1, 2);
    m = digits(text + 4, 2);
    if (h < 0 || h > 23 || m < 0 || m > 59) {
        return 0;
    }
    *seconds = (h * 60 + m) * (*text == '-' ? -60 : 60);
    return 1;
}

static int begins_month(apr_int64_t t)
{
    int y;
    unsigned m, d;
    civil_from_days((t - (t % DAY_US + DAY_US) % DAY_US) / DAY_US, &y, &m, &d);
    return t % DAY_US == 0 && d == 1;
}

int mpx_time_parse(const char *text, apr_size_t len, apr_time_t *out)
{
    const char *end = text + len, *at;
    int y, mo, d, h, mi, s, offset, scale = 100000;
    apr_int64_t fraction = 0, t;

    if (len < 20 || text[4] != '-' || text[7] != '-' || (text[10] != 'T' && text[10] != 't') || text[13] != ':'
        || text[16] != ':') {
        return 0;
    }
    y = digits(text, 4);
    mo = digits(text + 5, 2);
    d = digits(text + 8, 2);
    h = digits(text + 11, 2);
    mi = digits(text + 14, 2);
    s = digits(text + 17, 2);
    if (y < 1 || mo < 1 || mo > 12 || d < 1 || (unsigned)d > month_days(y, mo) || h < 0 || h > 23 || mi < 0 || mi > 59
        || s < 0 || s > 60) {
        return 0;
    }
    at = text + 19;
    if (*at == '.') {
        const char *first = ++at;
        for (; at < end && *at >= '0' && *at <= '9'; at++) {
            fraction += (*at - '0') * scale;
            scale /= 10;
        }
        if (at == first) {
            return 0;
        }
    }
    if (at >= end || !read_offset(at, end, &offset)) {
        return 0;
    }
    t = days_from_civil(y, (unsigned)mo, (unsigned)d) * DAY_US + (h * 3600 + mi * 60 + s - offset) * US + fraction;
    if (s == 60 && !begins_month(t - fraction)) {
        return 0; /* RFC 3339 section 5.7: at the end of a month, in UTC */
    }
    if (t < FIRST || t > LAST) {
        return 0; /* the offset carried it out of the years */
    }
    *out = t;
    return 1;
}

static char *put(char *at, unsigned value, int width)
{
    int i;
    for (i = width - 1; i >= 0; i--) {
        at[i] = (char)('0' + value % 10);
        value /= 10;
    }
    return at + width;
}

char *mpx_time_format(apr_time_t t, char *out)
{
    apr_int64_t instant = t < FIRST ? FIRST : t > LAST ? LAST
                                                       : t,
                days = instant / DAY_US, rest = instant % DAY_US;
    unsigned month, day, seconds, fraction;
    char *at = out;
    int year;

    if (rest < 0) {
        rest += DAY_US;
        days--;
    }
    civil_from_days(days, &year, &month, &day);
    seconds = (unsigned)(rest / US);
    fraction = (unsigned)(rest % US);
    at = put(at, (unsigned)year, 4);
    *at++ = '-';
    at = put(at, month, 2);
    *at++ = '-';
    at = put(at, day, 2);
    *at++ = 'T';
    at = put(at, seconds / 3600, 2);
    *at++ = ':';
    at = put(at, seconds / 60 % 60, 2);
    *at++ = ':';
    at = put(at, seconds % 60, 2);
    if (fraction) {
        *at++ = '.';
        at = put(at, fraction, 6);
    }
    *at++ = 'Z';
    *at = '\0';
    return out;
}

char *mpx_time_text(apr_pool_t *pool, apr_time_t t)
{
    char text[MPX_TIME_TEXT];
    return apr_pstrdup(pool, mpx_time_format(t, text));
}
