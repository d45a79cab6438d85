<?php

declare(strict_types=1);

/** The server reached is read-only: nobody is primary right now. */
final class NoPrimary extends Unavailable
{
}
