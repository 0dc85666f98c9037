"""One row for each usage record, and for each adjustment; what a call that was presumed spent is, it says."""

from billing.exports.columns import Column, Kind

# `record` and `entry` as one table. What a usage record was settled by says whether the provider told its tokens.
ROWS = """
    SELECT 'usage' AS kind, record.id::text AS id, record.booked_at, record.dispatched_at, record.project_id,
        record.team_id, record.member_id, record.api_key_id, record.model, record.snapshot, record.service_tier,
        record.input_tokens, record.cached_input_tokens, record.output_tokens, record.reasoning_tokens,
        record.price_id, record.input_usd_per_million, record.cached_input_usd_per_million,
        record.output_usd_per_million, record.cache_write_tokens, record.cache_write_usd_per_million,
        record.input_usd, record.cached_input_usd, record.output_usd,
        record.reasoning_usd, record.total_usd, record.is_empty, record.is_overrun,
        record.reservation_id IN ({presumed}) AS is_presumed,
        CASE WHEN record.window_start > date_trunc('month', record.dispatched_at, 'UTC')
            THEN date_trunc('month', record.dispatched_at, 'UTC') END AS corrects,
        '' AS reason, reservation.reference::text AS reference
    FROM billing_usagerecord record JOIN billing_reservation reservation ON reservation.id = record.reservation_id
    WHERE {usage_condition}
    UNION ALL
    SELECT 'adjustment', entry.sequence::text, entry.recorded_at, NULL, entry.project_id, entry.team_id, NULL, NULL,
        NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        entry.spent_change_usd, NULL, NULL, NULL, entry.corrects, entry.reason, NULL
    FROM billing_ledgerentry entry WHERE {entry_condition}
"""
ORDER = "line.booked_at"
COLUMNS = (
    Column("kind", Kind.WORD, "line.kind"),
    Column("id", Kind.WORD, "line.id"),
    Column("booked_at", Kind.INSTANT, "line.booked_at"),
    Column("dispatched_at", Kind.INSTANT, "line.dispatched_at"),
    Column("organization_id", Kind.WORD, "organization.id"),
    Column("organization", Kind.TEXT, "organization.name"),
    Column("project_id", Kind.WORD, "line.project_id"),
    Column("project", Kind.TEXT, "project.name"),
    Column("team_id", Kind.WORD, "line.team_id"),
    Column("team", Kind.TEXT, "team.name"),
    Column("member_id", Kind.WORD, "line.member_id"),
    Column("member", Kind.TEXT, "member.email"),
    Column("key_id", Kind.WORD, "line.api_key_id"),
    Column("key", Kind.TEXT, "api_key.name"),
    Column("attempt_id", Kind.WORD, "line.reference"),
    Column("model", Kind.TEXT, "line.model"),
    Column("answered_by", Kind.TEXT, "line.snapshot"),
    Column("service_tier", Kind.WORD, "line.service_tier"),
    Column("input_tokens", Kind.COUNT, "line.input_tokens"),
    Column("cached_input_tokens", Kind.COUNT, "line.cached_input_tokens"),
    Column("output_tokens", Kind.COUNT, "line.output_tokens"),
    Column("reasoning_tokens", Kind.COUNT, "line.reasoning_tokens"),
    Column("price_id", Kind.WORD, "line.price_id"),
    Column("input_usd_per_million", Kind.PRICE, "line.input_usd_per_million"),
    Column("cached_input_usd_per_million", Kind.PRICE, "line.cached_input_usd_per_million"),
    Column("output_usd_per_million", Kind.PRICE, "line.output_usd_per_million"),
    Column("input_usd", Kind.USD, "line.input_usd"),
    Column("cached_input_usd", Kind.USD, "line.cached_input_usd"),
    Column("visible_output_usd", Kind.USD, "line.output_usd"),
    Column("reasoning_usd", Kind.USD, "line.reasoning_usd"),
    Column("total_usd", Kind.USD, "line.total_usd"),
    Column("is_empty", Kind.FLAG, "line.is_empty"),
    Column("is_overrun", Kind.FLAG, "line.is_overrun"),
    Column("is_presumed", Kind.FLAG, "line.is_presumed"),
    Column("corrects_month", Kind.INSTANT, "line.corrects"),
    Column("reason", Kind.TEXT, "line.reason"),
    Column("cache_write_tokens", Kind.COUNT, "line.cache_write_tokens"),
    Column("cache_write_usd_per_million", Kind.PRICE, "line.cache_write_usd_per_million"),
)
