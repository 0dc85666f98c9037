"""FOCUS 1.3, Cost and Usage: one row for each hour, owner, model, service tier, price and token meter.

The columns and what they may hold: github.com/FinOps-Open-Cost-and-Usage-Spec/FOCUS_Spec, tag v1.2, and what 1.3 added
(ServiceProviderName and HostProviderName, which replace ProviderName and PublisherName; those stay until 1.4).
docs/exports.md has the mapping in words.

An id of a SKU's price names no date there, so that it stays the same when the figure changes: SkuPriceId is the model,
the tier and the meter, and `x_PriceId` the dated row that was used, by which rows are told apart.
"""

from billing.exports.columns import Column, Kind

# The meters of a call, which add up and never overlap: what was read from the cache or written to it is taken from the
# input, what was reasoned from the output. Their unit price times their tokens is their cost, for every call and so for
# every sum of calls.
ROWS = """
    SELECT 'Usage' AS category, used.hour AS begin, used.hour + interval '1 hour' AS until, used.month, used.project_id,
        used.team_id, used.member_id, used.api_key_id, used.model, used.service_tier, used.price_id,
        price.model AS priced_model, meter.token_type, meter.name AS meter, meter.tokens, meter.price, meter.cost,
        used.is_presumed, used.month > date_trunc('month', used.hour, 'UTC') AS is_correction, NULL AS reason
    FROM (
        SELECT date_trunc('hour', record.dispatched_at, 'UTC') AS hour, record.window_start AS month,
            record.project_id, record.team_id, record.member_id, record.api_key_id, record.model, record.service_tier,
            record.price_id, record.input_usd_per_million AS input_price,
            record.cached_input_usd_per_million AS cached_price, record.output_usd_per_million AS output_price,
            record.reservation_id IN ({presumed}) AS is_presumed,
            COALESCE(record.cache_write_usd_per_million, record.input_usd_per_million) AS write_price,
            sum(record.input_tokens - record.cached_input_tokens - record.cache_write_tokens) AS input,
            sum(record.cache_write_tokens) AS written, sum(record.cached_input_tokens) AS cached,
            sum(record.output_tokens - record.reasoning_tokens) AS visible, sum(record.reasoning_tokens) AS reasoning,
            sum(record.cached_input_usd) AS cached_usd,
            sum(record.output_usd) AS visible_usd, sum(record.reasoning_usd) AS reasoning_usd
        FROM billing_usagerecord record WHERE {usage_condition}
        GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14
    ) AS used
    JOIN billing_price price ON price.id = used.price_id
    CROSS JOIN LATERAL (VALUES
        ('input', 'Input Tokens', used.input, used.input_price, used.input * used.input_price * 0.000001),
        ('cache-write', 'Cache Write Tokens', used.written, used.write_price,
            used.written * used.write_price * 0.000001),
        ('cached-input', 'Cached Input Tokens', used.cached, used.cached_price, used.cached_usd),
        ('output', 'Visible Output Tokens', used.visible, used.output_price, used.visible_usd),
        ('output-reasoning', 'Reasoning Output Tokens', used.reasoning, used.output_price, used.reasoning_usd)
    ) AS meter (token_type, name, tokens, price, cost)
    WHERE meter.tokens > 0
    UNION ALL
    SELECT 'Adjustment', COALESCE(entry.corrects, date_trunc('hour', entry.recorded_at, 'UTC')),
        COALESCE(date_add(entry.corrects, interval '1 month', 'UTC'),
            date_trunc('hour', entry.recorded_at, 'UTC') + interval '1 hour'),
        entry.window_start, entry.project_id, entry.team_id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        entry.spent_change_usd, NULL, entry.corrects IS NOT NULL, entry.reason
    FROM billing_ledgerentry entry WHERE {entry_condition}
"""
ORDER = "line.begin"
_SKU = "'openai/' || line.priced_model || '/' || line.token_type"
_PROVIDER = "'OpenAI'"
COLUMNS = (
    Column("BilledCost", Kind.USD, "line.cost"),
    Column("BillingAccountId", Kind.WORD, "organization.id"),
    Column("BillingAccountName", Kind.TEXT, "organization.name"),
    Column("BillingCurrency", Kind.WORD, "'USD'"),
    Column("BillingPeriodEnd", Kind.INSTANT, "date_add(line.month, interval '1 month', 'UTC')"),
    Column("BillingPeriodStart", Kind.INSTANT, "line.month"),
    Column("ChargeCategory", Kind.WORD, "line.category"),
    Column("ChargeClass", Kind.WORD, "CASE WHEN line.is_correction THEN 'Correction' END"),
    Column("ChargeDescription", Kind.TEXT, "COALESCE(line.reason, line.model || ' ' || lower(line.meter))"),
    Column("ChargeFrequency", Kind.WORD, "CASE line.category WHEN 'Usage' THEN 'Usage-Based' ELSE 'One-Time' END"),
    Column("ChargePeriodEnd", Kind.INSTANT, "line.until"),
    Column("ChargePeriodStart", Kind.INSTANT, "line.begin"),
    Column("ConsumedQuantity", Kind.COUNT, "line.tokens"),
    Column("ConsumedUnit", Kind.WORD, "CASE WHEN line.tokens IS NOT NULL THEN 'Tokens' END"),
    Column("ContractedCost", Kind.USD, "line.cost"),
    Column("ContractedUnitPrice", Kind.PRICE, "line.price"),
    Column("EffectiveCost", Kind.USD, "line.cost"),
    Column("HostProviderName", Kind.WORD, _PROVIDER),
    Column("InvoiceIssuerName", Kind.WORD, _PROVIDER),
    Column("ListCost", Kind.USD, "line.cost"),
    Column("ListUnitPrice", Kind.PRICE, "line.price"),
    Column("PricingCategory", Kind.WORD, "CASE WHEN line.price IS NOT NULL THEN 'Standard' END"),
    Column("PricingQuantity", Kind.MILLIONS, "line.tokens / 1000000.0"),
    Column("PricingUnit", Kind.WORD, "CASE WHEN line.tokens IS NOT NULL THEN '1000000 Tokens' END"),
    Column("ProviderName", Kind.WORD, _PROVIDER),
    Column("PublisherName", Kind.WORD, _PROVIDER),
    Column("ServiceCategory", Kind.WORD, "'AI and Machine Learning'"),
    Column("ServiceName", Kind.WORD, "'OpenAI API'"),
    Column("ServiceProviderName", Kind.WORD, _PROVIDER),
    Column("ServiceSubcategory", Kind.WORD, "'Generative AI'"),
    Column("SkuId", Kind.WORD, _SKU),
    Column("SkuMeter", Kind.WORD, "line.meter"),
    Column(
        "SkuPriceDetails",
        Kind.WORD,
        "CASE WHEN line.tokens IS NOT NULL THEN json_build_object('x_Model', line.priced_model, "
        "'x_TokenType', line.token_type, 'x_ServiceTier', line.service_tier) END",
    ),
    Column("SkuPriceId", Kind.WORD, f"{_SKU} || '/' || line.service_tier"),
    Column("SubAccountId", Kind.WORD, "line.project_id"),
    Column("SubAccountName", Kind.TEXT, "project.name"),
    Column("SubAccountType", Kind.WORD, "'Project'"),
    Column("x_ApiKeyId", Kind.WORD, "line.api_key_id"),
    Column("x_ApiKeyName", Kind.TEXT, "api_key.name"),
    Column("x_IsPresumed", Kind.FLAG, "line.is_presumed"),
    Column("x_MemberEmail", Kind.TEXT, "member.email"),
    Column("x_MemberId", Kind.WORD, "line.member_id"),
    Column("x_Model", Kind.TEXT, "line.model"),
    Column("x_PriceId", Kind.WORD, "line.price_id"),
    Column("x_ServiceTier", Kind.WORD, "line.service_tier"),
    Column("x_TeamId", Kind.WORD, "line.team_id"),
    Column("x_TeamName", Kind.TEXT, "team.name"),
    Column("x_TokenType", Kind.WORD, "line.token_type"),
)
