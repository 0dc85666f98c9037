"""What the beat asks for, and how often; a message that expires came too late to be of use."""

from typing import Any

from celery.schedules import crontab

SCHEDULE: dict[str, dict[str, Any]] = {
    "dispatch queued jobs": {"task": "jobs.tasks.dispatch", "schedule": 1.0, "options": {"expires": 5}},
    "rescue stranded attempts": {"task": "jobs.tasks.rescue", "schedule": 2.0, "options": {"expires": 15}},
    "look up lost answers": {"task": "jobs.tasks.look_up", "schedule": 2.0, "options": {"expires": 15}},
    "look at background calls": {"task": "jobs.tasks.look_at_background", "schedule": 1.0, "options": {"expires": 5}},
    "work on batches": {"task": "jobs.tasks.work_on_batches", "schedule": 1.0, "options": {"expires": 5}},
    "work on comparisons": {"task": "jobs.tasks.work_on_comparisons", "schedule": 1.0, "options": {"expires": 5}},
    "work on provider batches": {"task": "jobs.tasks.work_at_provider", "schedule": 2.0, "options": {"expires": 10}},
    "erase old files": {"task": "jobs.tasks.erase_old_files", "schedule": 3600.0, "options": {"expires": 3000}},
    "learn of what has ended": {"task": "jobs.tasks.learn", "schedule": 5.0, "options": {"expires": 5}},
    "say that the beat lives": {"task": "config.tasks.hear_beat", "schedule": 5.0, "options": {"expires": 10}},
    "close months that ended": {"task": "billing.tasks.close_months", "schedule": 3600.0, "options": {"expires": 3000}},
    "tell what crossed a limit": {"task": "billing.tasks.tell", "schedule": 1.0, "options": {"expires": 5}},
    "mail alerts": {"task": "billing.tasks.mail_alerts", "schedule": 60.0, "options": {"expires": 50}},
    "end quota requests": {"task": "billing.tasks.expire_quota_requests", "schedule": 30.0, "options": {"expires": 25}},
    "watch limits": {"task": "billing.tasks.watch_limits", "schedule": 60.0, "options": {"expires": 50}},
    "note hours": {"task": "billing.tasks.note_hours", "schedule": 600.0, "options": {"expires": 500}},
    "watch spend": {"task": "billing.tasks.watch_spend", "schedule": 600.0, "options": {"expires": 500}},
    "forget old deliveries": {"task": "billing.tasks.forget_old_deliveries", "schedule": 3600.0},
    # When few calls wait for a book that is being read.
    "verify every book": {"task": "billing.tasks.verify_every_book", "schedule": crontab(hour="3", minute="17")},
    "verify the audit trails": {"task": "accounts.tasks.verify_audit", "schedule": crontab(hour="3", minute="47")},
    # After the provider's day has ended, and again each day until its bill is complete.
    "compare with the provider's bill": {
        "task": "jobs.tasks.reconcile_every_account",
        "schedule": crontab(hour="5", minute="23"),
    },
    "prepare waste reports": {"task": "jobs.tasks.prepare_waste", "schedule": 600.0, "options": {"expires": 500}},
    "erase due content": {"task": "jobs.tasks.erase_due_content", "schedule": 30.0, "options": {"expires": 25}},
    "forget old idempotency keys": {"task": "jobs.tasks.forget_idempotency_keys", "schedule": 3600.0},
}
