<form method="post" action="<?= $e($base) ?>/entries">
  <input type="hidden" name="csrf" value="<?= $e($csrf) ?>">
  <input type="hidden" name="token" value="<?= $e($form['token']) ?>">
  <label for="name">Your name</label>
  <input id="name" name="name" value="<?= $e($form['name']) ?>" maxlength="<?= $nameLength ?>" autocomplete="name" required>
  <label for="message">Your message</label>
  <textarea id="message" name="message" maxlength="<?= $messageLength ?>" rows="4" required>
<?= $e($form['message']) ?></textarea>
  <button><?= $e($button) ?></button>
</form>
