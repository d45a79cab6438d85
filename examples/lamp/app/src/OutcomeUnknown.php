<?php

declare(strict_types=1);

/** The entry was sent and no answer came: it may or may not be in the book. */
final class OutcomeUnknown extends RuntimeException
{
}
