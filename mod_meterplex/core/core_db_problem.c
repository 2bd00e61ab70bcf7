/* core_db_problem.c: what a SQLSTATE means to the caller. The only place. */
#include "core_db.h"

#include <string.h>

#include <apr_strings.h>

int core_db_state_is_lost(const char *state)
{
    return strncmp(state, "08", 2) == 0 || strcmp(state, "57P01") == 0 || strcmp(state, "57P02") == 0
        || strcmp(state, "57P03") == 0;
}

int core_db_state_is_retryable(const char *state)
{
    return strcmp(state, "40001") == 0 || strcmp(state, "40P01") == 0;
}

typedef struct state_rule {
    const char *state; /* whole, or a class of two characters */
    mpx_problem_code_e code;
    const char *detail;
} state_rule_t;

static const state_rule_t rules[] = {
    { "23503", MPX_P_VALIDATION_FAILED, "A value refers to something that does not exist." },
    { "23514", MPX_P_VALIDATION_FAILED, "A value is not within what is allowed." },
    { "23502", MPX_P_VALIDATION_FAILED, "A required value is missing." },
    { "22P05", MPX_P_BAD_JSON, "A string contains a character that cannot be stored." },
    { "22021", MPX_P_BAD_JSON, "A string is not valid UTF-8." },
    { "22P02", MPX_P_VALIDATION_FAILED, "A value cannot be read as its type." },
    { "22003", MPX_P_VALIDATION_FAILED, "A number is out of range." },
    { "22008", MPX_P_VALIDATION_FAILED, "A time is out of range." },
    { "22001", MPX_P_VALIDATION_FAILED, "A text is too long." },
    { "57014", MPX_P_UNAVAILABLE, "The database took too long; ask for less, or again later." },
    { "55P03", MPX_P_UNAVAILABLE, "Another change holds what this one needs; try again." },
    { "40", MPX_P_UNAVAILABLE, "Too many changes at once; try again." },
    { "53", MPX_P_UNAVAILABLE, "The database has no room left for this; try again later." },
    { "57", MPX_P_UNAVAILABLE, "The database is not available; try again." },
    { "58", MPX_P_UNAVAILABLE, "The database cannot read or write its files; try again later." },
    { "08", MPX_P_UNAVAILABLE, "The database is not available; try again." },
    { "25006", MPX_P_UNAVAILABLE, "The database takes no changes at the moment; try again." },
    { "42P01", MPX_P_UNAVAILABLE, "The database schema is not up to date." },
    { "42883", MPX_P_UNAVAILABLE, "The database schema is not up to date." },
    { "42703", MPX_P_UNAVAILABLE, "The database schema is not up to date." },
    { "3F000", MPX_P_UNAVAILABLE, "The database schema is not up to date." },
    { "42501", MPX_P_UNAVAILABLE, "The database role lacks a permission that this needs." },
};

void core_db_problem(mpx_call_t *call, const core_db_error_t *error)
{
    apr_size_t i;

    if (strcmp(error->state, "23505") == 0) {
        mpx_fail_field(call, MPX_P_CONFLICT, apr_pstrcat(call->pool, "/", error->column, NULL), "taken",
                       "This value is taken already.");
        return;
    }
    for (i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (strncmp(error->state, rules[i].state, strlen(rules[i].state)) == 0) {
            mpx_fail(call, rules[i].code, "%s", rules[i].detail);
            if (rules[i].code == MPX_P_UNAVAILABLE && call->problem.retry_after == 0) {
                call->problem.retry_after = 1;
            }
            return;
        }
    }
    mpx_fail(call, MPX_P_INTERNAL, "The request could not be carried out.");
}
