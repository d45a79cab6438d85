<?php

declare(strict_types=1);

/** What went wrong, in words for the person who sees it. */
final class Problem extends RuntimeException
{
    public function __construct(
        public readonly int $status,
        public readonly string $name,
        public readonly string $title,
        string $text,
    ) {
        parent::__construct($text);
    }

    public static function notReadable(): self
    {
        return new self(
            503,
            'unavailable',
            'The book cannot be read right now',
            'The database does not answer. This page works again as soon as it is back.'
        );
    }

    public static function notWritten(): self
    {
        return new self(
            503,
            'not-written',
            'Your entry was not written',
            'The database did not take it, so nothing was stored. Try again in a moment.'
        );
    }

    public static function noPrimary(): self
    {
        return new self(
            503,
            'no-primary',
            'Your entry was not written',
            'There is no primary database right now, and only a primary takes entries. Another server usually takes over within '
            . 'seconds: try again in a moment.'
        );
    }

    public static function unknown(): self
    {
        return new self(
            504,
            'outcome-unknown',
            'We could not confirm your entry',
            'It was sent, but the database did not answer in time, so it may or may not be in the book. Reload the book to see, '
            . 'or send it again: the same entry is never stored twice.'
        );
    }

    public static function expired(): self
    {
        return new self(
            400,
            'form-expired',
            'Please send it once more',
            'The form was opened too long ago or in another session, so nothing was stored.'
        );
    }

    public static function invalid(string $text): self
    {
        return new self(400, 'invalid', 'Not written yet', $text);
    }

    public static function absent(string $text): self
    {
        return new self(404, 'absent', 'Not there', $text);
    }

    public static function notAllowed(string $method): self
    {
        return new self(405, 'method', 'That cannot be done here', "$method is not possible at this address.");
    }
}
