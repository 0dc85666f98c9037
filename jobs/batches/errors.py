"""What cannot be done with a file or a batch."""

from accounts.errors import DomainError


class FileTooLarge(DomainError):
    """The file is larger than this server takes."""

    code = "file_too_large"


class FileInUse(DomainError):
    """A batch that has not ended reads this file. Cancel the batch first, or wait for its end."""

    code = "file_in_use"


class BatchNotCancellable(DomainError):
    """The batch has ended, or is about to."""

    code = "batch_not_cancellable"
