/* ctl_output.c: what meterplexctl says. */
#include "ctl.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <apr_strings.h>

static void say(const char *format, va_list arguments) MPX_PRINTF(1, 0);

static void say(const char *format, va_list arguments)
{
    fputs("meterplexctl: ", stderr);
    vfprintf(stderr, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized): the callers start it */
    fputc('\n', stderr);
}

int ctl_fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    return CTL_FAILED;
}

void ctl_note(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

int ctl_usage(const ctl_t *ctl, const char *format, ...)
{
    char message[512];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(message, sizeof message, format, arguments); /* NOLINT(clang-analyzer-valist.Uninitialized): started above */
    va_end(arguments);
    fprintf(stderr, "meterplexctl: %s; see: meterplexctl %s%s--help\n", message, ctl->command ? ctl->command->name : "",
            ctl->command ? " " : "");
    return CTL_USAGE;
}

int ctl_fail_call(const ctl_t *ctl, const mpx_call_t *call)
{
    const mpx_problem_t *problem = &call->problem;
    const char *detail = problem->detail ? problem->detail : "this could not be carried out";
    const char *fields = "";
    int i;

    for (i = 0; problem->errors && i < problem->errors->nelts; i++) {
        const mpx_field_error_t *error = &APR_ARRAY_IDX(problem->errors, i, mpx_field_error_t);
        fields = apr_pstrcat(call->pool, fields, i ? "; " : "",
                             error->pointer[0] == '/' ? error->pointer + 1 : error->pointer, ": ", error->detail, NULL);
    }
    /* What the server of the database said helps an operator, and only an operator may read it. */
    if (ctl->db_message && (problem->code == MPX_P_UNAVAILABLE || problem->code == MPX_P_INTERNAL)) {
        return ctl_fail("%s (%s)", detail, ctl_one_line(call->pool, ctl->db_message));
    }
    return ctl_fail("%s", *fields ? fields : detail);
}

void ctl_print_json(mpx_jsonw_t *json)
{
    apr_size_t len;
    const char *text = mpx_jsonw_text(json, &len);
    fwrite(text, 1, len, stdout);
    fputc('\n', stdout);
}

int ctl_flush(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        return ctl_fail("standard output cannot be written");
    }
    return status;
}

const char *ctl_one_line(apr_pool_t *pool, const char *text)
{
    char *line = apr_palloc(pool, 2 * strlen(text) + 1), *out = line;

    for (; *text; text++) {
        if (*text != '\n' && *text != '\r' && *text != '\t') {
            *out++ = *text;
        }
        else if (text[strspn(text, "\r\n\t ")] == '\0') {
            break;
        }
        else if (out > line && out[-1] != ' ') {
            *out++ = ';';
            *out++ = ' ';
        }
    }
    *out = '\0';
    return line;
}
