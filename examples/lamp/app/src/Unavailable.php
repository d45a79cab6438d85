<?php

declare(strict_types=1);

/** The database did not do it, for certain; trying again later is safe. */
class Unavailable extends RuntimeException
{
}
