<?php $writtenAt = new DateTimeImmutable($entry['written_at'], new DateTimeZone('UTC')); ?>
<article id="entry-<?= $e($entry['id']) ?>">
  <p class="message"><?= $e($entry['message']) ?></p>
  <p class="by">
    <span class="author"><?= $e($entry['name']) ?></span>
    <a href="<?= $e($base) ?>/entries/<?= $e($entry['id']) ?>"><time datetime="<?= $writtenAt->format('Y-m-d\TH:i:s\Z') ?>"><?= $writtenAt->format('j F Y, H:i') ?> UTC</time></a>
  </p>
</article>
